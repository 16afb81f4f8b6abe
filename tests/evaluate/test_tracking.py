import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.core.assignment import best_pairs
from vedette.errors import DataError
from vedette.evaluate.tracking import TrackBoxes, measure_tracks


def boxes_of(rows):
    """From rows (frame, id, x1, y1, x2, y2)."""
    values = np.array(rows, dtype=np.float64).reshape(-1, 6)
    return TrackBoxes(values[:, 0].astype(np.int64), values[:, 1].astype(np.int64), values[:, 2:])


def lane(number, frame):
    """Where object ``number`` is in a frame: far from all others."""
    return (frame * 3, number * 100, frame * 3 + 40, number * 100 + 80)


def lanes(plan):
    """From ids by object: ``{0: "aab"}`` is object 0 with ids a, a, b in frames 0, 1, 2; a blank: no box."""
    return boxes_of(
        [
            (frame, ord(letter), *lane(number, frame))
            for number, letters in plan.items()
            for frame, letter in enumerate(letters)
            if letter != " "
        ]
    )


def measured(truth, found):
    return measure_tracks(lanes(truth), lanes(found))


def test_perfect_is_one():
    result = measured({0: "aaaa", 1: "bbbb"}, {0: "xxxx", 1: "yyyy"})
    assert (result.hota, result.deta, result.assa, result.idf1, result.mota, result.motp) == (1,) * 6
    assert (result.missed, result.spurious, result.id_switches) == (0, 0, 0)
    assert (result.true_boxes, result.found_boxes) == (8, 8)


def test_a_track_that_breaks_by_hand():
    """One object of four frames under two ids: every box agrees with 2 of 4."""
    result = measured({0: "aaaa"}, {0: "xxyy"})
    assert result.deta == 1
    assert result.assa == pytest.approx(2 / 4)
    assert result.hota == pytest.approx(math.sqrt(1 / 2))
    assert (result.idf1, result.idp, result.idr) == (0.5, 0.5, 0.5)
    assert (result.id_switches, result.mota) == (1, 1 - 1 / 4)


def test_two_that_swap_by_hand():
    """Every box: 2 frames together, 2 of the object and 2 of the track elsewhere."""
    result = measured({0: "aaaa", 1: "bbbb"}, {0: "xxyy", 1: "yyxx"})
    assert result.deta == 1
    assert result.assa == pytest.approx(2 / 6)
    assert result.hota == pytest.approx(math.sqrt(1 / 3))
    assert result.idf1 == 0.5
    assert (result.id_switches, result.mota) == (2, 1 - 2 / 8)


def test_missed_and_spurious_by_hand():
    """4 of 8 true boxes found, 2 boxes where nothing is; the one track agrees with 4 of 4 + 0 + 0 boxes."""
    result = measured({0: "aaaa", 1: "bbbb"}, {0: "xxxx", 7: "zz"})
    assert (result.missed, result.spurious, result.id_switches) == (4, 2, 0)
    assert result.mota == 1 - 6 / 8
    assert result.deta == pytest.approx(4 / (8 + 6 - 4))
    assert result.assa == 1
    assert result.idf1 == pytest.approx(2 * 4 / (8 + 6))
    assert (result.idp, result.idr) == (4 / 6, 4 / 8)


def test_a_gap_is_no_switch_but_another_id_behind_it_is():
    assert measured({0: "aaaaa"}, {0: "xx xx"}).id_switches == 0
    assert measured({0: "aaaaa"}, {0: "xx yy"}).id_switches == 1
    assert measured({0: "aa aa"}, {0: "xx yy"}).id_switches == 1


def test_overlap_decides_by_threshold():
    """IoU 62 / 100: enough for the thresholds 0.05 ... 0.60, twelve of nineteen."""
    result = measure_tracks(boxes_of([(0, 1, 0, 0, 10, 10)]), boxes_of([(0, 5, 0, 0, 10, 6.2)]))
    assert result.hota == result.deta == result.assa == pytest.approx(12 / 19)
    assert (result.idf1, result.mota, result.motp) == (1, 1, pytest.approx(0.62))
    result = measure_tracks(boxes_of([(0, 1, 0, 0, 10, 10)]), boxes_of([(0, 5, 0, 0, 10, 4.9)]))
    assert (result.idf1, result.mota, result.motp) == (0, -1, None)


def test_a_pair_goes_on_though_another_box_fits_better():
    """As in CLEAR MOT: the old pair keeps its overlap of 0.6, so nothing is switched."""
    truth = [(frame, 1, 0, 0, 10, 10) for frame in range(2)]
    found = [(0, 7, 0, 0, 10, 10), (1, 7, 0, 0, 10, 6), (1, 8, 0, 0, 10, 10)]
    result = measure_tracks(boxes_of(truth), boxes_of(found))
    assert (result.id_switches, result.spurious, result.motp) == (0, 1, pytest.approx(0.8))


def test_without_boxes_shares_are_undefined():
    nothing = boxes_of([])
    some = lanes({0: "aa"})
    result = measure_tracks(nothing, nothing)
    assert {result.hota, result.idf1, result.mota, result.motp} == {None}
    missed = measure_tracks(some, nothing)
    assert (missed.hota, missed.idf1, missed.idp, missed.mota, missed.missed) == (0, 0, None, 0, 2)
    spurious = measure_tracks(nothing, some)
    assert (spurious.hota, spurious.idf1, spurious.idr, spurious.mota, spurious.spurious) == (
        0,
        0,
        None,
        None,
        2,
    )
    assert json.loads(json.dumps(result.to_dict()))["true_boxes"] == 0


def woven():
    """Truth and result of 24 frames, by formula: crossings, gaps, shifts, switches, a ghost."""
    truth, found = [], []
    for frame in range(24):
        for number in range(4):
            x = 20 + number * 60 + (frame * (5 - 3 * number)) % 170
            y = 30 + 7 * ((frame * (number + 1)) % 5)
            if (frame + number) % 9:
                truth.append((frame, number, x, y, x + 50, y + 60))
            shift = (frame * 7 + number * 3) % 13
            if (frame * (number + 2)) % 7:
                track = number ^ (10 <= frame < 17) if number < 2 else number + 10 * (frame > 15 + number)
                found.append((frame, 100 + track, x + shift, y, x + 50 + shift, y + 60))
        if frame % 4 == 0:
            found.append((frame, 99, 300 - frame, 200, 340, 260))
    return boxes_of(truth), boxes_of(found)


def test_numbers_of_another_implementation():
    """Of the package trackeval 1.3.0 (MIT), for the same boxes."""
    result = measure_tracks(*woven())
    expected = json.loads(WOVEN)
    assert {name: getattr(result, name) for name in expected} == pytest.approx(expected, abs=1e-12)


WOVEN = """
{
 "hota": 0.4386005619985093,
 "deta": 0.5474194849180031,
 "assa": 0.351564577023767,
 "idf1": 0.6242774566473989,
 "idp": 0.627906976744186,
 "idr": 0.6206896551724138,
 "mota": 0.6206896551724138,
 "motp": 0.7948027882749307,
 "missed": 14,
 "spurious": 13,
 "id_switches": 6
}
"""


def rows_of(tracks):
    return np.column_stack((tracks.frames, tracks.ids, tracks.boxes_xyxy_px))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_names_and_order_do_not_matter(seed):
    random = np.random.default_rng(seed)
    truth, found = woven()
    rows = random.permutation(rows_of(found))
    names = random.permutation(1000)
    renamed = TrackBoxes(rows[:, 0].astype(int) + 5, names[rows[:, 1].astype(int)], rows[:, 2:])
    moved = TrackBoxes(truth.frames + 5, truth.ids, truth.boxes_xyxy_px)
    assert measure_tracks(moved, renamed).to_dict() == pytest.approx(measure_tracks(truth, found).to_dict())


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.05, 0.5))
def test_worse_tracks_score_worse(seed, share):
    """From perfect on: boxes taken away, ids swapped at random."""
    random = np.random.default_rng(seed)
    truth, _ = woven()
    perfect = measure_tracks(truth, truth)
    kept = random.random(len(truth)) >= share
    fewer = measure_tracks(truth, TrackBoxes(truth.frames[kept], truth.ids[kept], truth.boxes_xyxy_px[kept]))
    ids = truth.ids.copy()
    for frame in np.flatnonzero(random.random(24) < share):
        here = truth.frames == frame
        ids[here] = np.roll(ids[here], 1)
    swapped = measure_tracks(truth, TrackBoxes(truth.frames, ids, truth.boxes_xyxy_px))
    assert perfect.hota == perfect.idf1 == perfect.mota == 1
    assert fewer.missed == (~kept).sum()
    if not kept.all():
        assert max(fewer.hota, fewer.idf1, fewer.mota) < 1
        assert fewer.idp == 1
    if (ids != truth.ids).any():
        assert max(swapped.hota, swapped.idf1, swapped.mota) < 1


def test_sides_may_change_places():
    truth, found = woven()
    there, back = measure_tracks(truth, found), measure_tracks(found, truth)
    assert (there.hota, there.deta, there.assa, there.idf1) == pytest.approx(
        (back.hota, back.deta, back.assa, back.idf1)
    )
    assert (there.missed, there.spurious) == (back.spurious, back.missed)


def test_best_pairing_of_ids_not_the_first(monkeypatch):
    """The common boxes are a 2 x 2 table where greedy loses; a greedy pairing in its place is noticed."""
    truth, found = {0: "aaaaa", 1: "bbbbb"}, {0: "xxxyy", 1: "   xx"}
    assert best_pairs(np.array([[3.0, 2.0], [2.0, 0.0]]))[1].tolist() == [1, 0]
    assert measured(truth, found).idf1 == pytest.approx(2 * 4 / 17)
    monkeypatch.setattr("vedette.evaluate.tracking.best_pairs", lambda gain: (np.array([0]), np.array([0])))
    assert measured(truth, found).idf1 != pytest.approx(2 * 4 / 17)


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([(0, 1, 0, 0, 1, 1), (0, 1, 5, 5, 6, 6)], "id 1 is in frame 0 more than once"),
        ([(0, 1, 0, 0, np.nan, 1)], "finite"),
    ],
)
def test_what_cannot_be_measured_is_refused(rows, text):
    with pytest.raises(DataError, match=text):
        boxes_of(rows)


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="2 frames, 1 ids and 2 boxes"):
        TrackBoxes(np.zeros(2, dtype=int), np.zeros(1, dtype=int), np.zeros((2, 4)))
    with pytest.raises(DataError, match=r"\[N, 4\]"):
        TrackBoxes(np.zeros(2, dtype=int), np.arange(2), np.zeros((2, 5)))
