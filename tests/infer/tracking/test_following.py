from pathlib import Path

import numpy as np
import pytest

from vedette.core.types import Detections
from vedette.errors import ImageError
from vedette.infer.sources import SourceItem
from vedette.infer.stream import PictureResult
from vedette.infer.tracking import following
from vedette.infer.tracking.following import Following, Sequence
from vedette.infer.tracking.tracker import TrackingSettings
from vedette.infer.video.live import SourceEvent

STRONG, WEAK = 0.8, 0.2


def found(*rows):
    """From rows (x, score) or (x, score, class)."""
    rows = [(*row, 0)[:3] for row in rows]
    return Detections(
        np.array([(x, 10, x + 40, 90) for x, *_ in rows], dtype=np.float32).reshape(-1, 4),
        np.array([row[1] for row in rows], dtype=np.float32),
        np.array([row[2] for row in rows], dtype=np.int64),
        ("cat", "dog"),
        (200, 400),
    )


def frame(index, detections, path="a.mp4", *, live=False):
    item = SourceItem(path, Path(path), frame_index=index, time_ms=40.0 * index, live=live)
    return PictureResult(item, detections)


def picture(path, detections):
    error = None if detections is not None else ImageError("is empty", where=path)
    return PictureResult(SourceItem(path, Path(path)), detections, error=error)


def event(kind, path="a.mp4", *, live=False):
    return PictureResult(SourceItem(path, Path(path), live=live), event=SourceEvent(kind))


def ids(results):
    return [None if result.detections is None else result.detections.track_ids.tolist() for result in results]


def test_results_come_out_in_their_order_with_ids():
    given = [
        event("opened"),
        frame(0, found((10, STRONG))),
        frame(1, found((12, STRONG), (200, STRONG))),
        frame(2, found((14, STRONG), (201, STRONG, 1), (202, STRONG))),
        event("ended"),
    ]
    results = list(Following(TrackingSettings()).results(given))
    assert [result.item for result in results] == [result.item for result in given]
    assert (results[0], results[4]) == (given[0], given[4])
    assert ids(results) == [None, [1], [1, -1], [1, -1, 2], None]


def test_weak_boxes_are_shown_where_they_have_a_track():
    given = [frame(0, found((10, STRONG), (200, WEAK))), frame(1, found((12, WEAK), (200, 0.5), (300, WEAK)))]
    results = Following(TrackingSettings(high_threshold=0.6), shown_above=0.25).results(given)
    shown = [result.detections.scores.tolist() for result in results]
    np.testing.assert_allclose(shown[0], [STRONG])
    np.testing.assert_allclose(shown[1], [WEAK, 0.5])


def test_each_source_has_its_own_ids_and_interleaved_streams_do_not_mix():
    given = [
        frame(number, found((10 + 2 * number + 200 * (path == "b"), STRONG)), path, live=True)
        for number in range(3)
        for path in ("a", "b")
    ]
    assert ids(Following(TrackingSettings()).results(given)) == [[1]] * 6


def test_a_video_that_is_read_again_begins_anew():
    one = [frame(0, found((10, STRONG))), frame(1, found((12, STRONG))), event("ended")]
    follower = Following(TrackingSettings())
    assert ids(follower.results(one * 2)) == [[1], [1], None] * 2
    assert follower.counts() == {"cat": 2}


def test_a_gap_in_a_stream_keeps_ids_only_if_it_is_short():
    def after(gap):
        given = [frame(number, found((10, STRONG)), live=True) for number in range(5)]
        given += [event("lost", live=True), event("recovered", live=True)]
        given += [frame(5 + gap + number, found((10, STRONG)), live=True) for number in range(2)]
        return ids(Following(TrackingSettings()).results(given))[-1]

    assert after(10) == [1]
    assert after(100) == [2]


def test_pictures_of_a_folder_are_one_sequence_over_unreadable_ones():
    given = [picture("in/0.jpg", found((10, STRONG))), picture("in/1.jpg", found((20, STRONG)))]
    given += [picture(f"in/{number}.jpg", None) for number in (2, 3, 4)]
    given += [picture("in/5.jpg", found((62, STRONG))), picture("other/0.jpg", found((62, STRONG)))]
    results = Following(TrackingSettings()).results(given)
    assert ids(results) == [[1], [1], None, None, None, [1], [1]]


def test_tracks_are_counted_once_by_the_class_they_begin_with():
    given = [
        frame(0, found((10, STRONG), (200, STRONG, 1))),
        frame(1, found((10, STRONG, 1), (200, STRONG, 1), (300, STRONG))),
        frame(2, found((10, STRONG, 1), (200, STRONG, 1), (300, STRONG))),
    ]
    follower = Following(TrackingSettings(class_aware=False))
    list(follower.results(given))
    assert follower.counts() == {"cat": 2, "dog": 1}


def test_trails_are_there_where_asked_for():
    given = [frame(number, found((10 + number, STRONG))) for number in range(3)]
    (*_, last) = Following(TrackingSettings(), trail_seconds=1.0).results(given)
    assert [trail.points_xy_px.tolist() for trail in last.trails] == [[[30, 50], [31, 50], [32, 50]]]
    assert all(result.trails == () for result in Following(TrackingSettings()).results(given))


@pytest.mark.parametrize(
    ("path", "key", "name"),
    [("x/seq/1.jpg", "x/seq/", "seq"), ("1.jpg", "./", "pictures"), ("../1.jpg", "../", "pictures")],
)
def test_names_of_sequences(path, key, name):
    sequence = Sequence.of(SourceItem(path, Path(path)))
    assert (sequence.key, sequence.name.as_posix()) == (key, name)
    video = Sequence.of(SourceItem("v/a.mp4", Path("v/a.mp4"), frame_index=3))
    assert (video.key, video.name) == ("v/a.mp4", Path("v/a.mp4"))


def test_of_a_tree_of_folders_the_last_ones_are_remembered(monkeypatch):
    monkeypatch.setattr(following, "_MOST_SEQUENCES", 3)
    follower = Following(TrackingSettings())
    list(follower.results(picture(f"{number}/a.jpg", found((10, STRONG))) for number in range(50)))
    assert list(follower._sequences) == ["47/", "48/", "49/"]
