from pathlib import Path

import pytest

from tests.infer.test_writers import BOX, LOST, event, failure, frame, result
from vedette.infer.sources import Skipped
from vedette.infer.tally import StreamSummary, Tally


def summary(*results, interrupted=False):
    tally = Tally()
    for entry in results:
        tally.add(entry)
    return tally.summary(Path("runs"), (Skipped("a.pdf", "no picture"),), 2.0, interrupted)


def test_pictures_videos_and_failures_are_counted():
    found = summary(
        result("a.png", [BOX, BOX], names=("cat", "dog")),
        failure(),
        event("opened"),
        frame(0, [BOX]),
        frame(5),
        event("ended", frames=2, error=LOST),
    )
    assert (found.pictures, found.failed, found.detections) == (5, 2, 3)
    assert [path for path, _ in found.failures] == ["in/bad.jpg", "in/clip.mp4"]
    assert found.exit_code == 1
    assert found.streams == ()
    assert found.seconds == {"total": 2.0}


def test_what_came_from_a_stream():
    live = {"path": "cam", "live": True}
    found = summary(
        event("opened", **live),
        frame(0, **live),
        frame(4, **live),
        event("lost", frames=7, error=LOST, **live),
        event("recovered", frames=7, gap_ms=1500.0, **live),
        frame(7, **live),
        event("lost", frames=8, error=LOST, **live),
        event("recovered", frames=8, gap_ms=500.0, **live),
    )
    assert found.streams == (StreamSummary("cam", frames=8, looked_at=3, gaps=2, gap_seconds=2.0),)
    assert (found.failed, found.exit_code) == (0, 0), "what came back did not fail"


@pytest.mark.parametrize(
    ("results", "interrupted", "expected"),
    [
        ([result()], False, 0),
        ([], False, 0),
        ([failure()], False, 2),
        ([event("ended", error=LOST)], False, 2),
        ([frame(0), event("ended", error=LOST)], False, 1),
        ([frame(0), event("ended", error=LOST)], True, 130),
    ],
)
def test_exit_codes(results, interrupted, expected):
    assert summary(*results, interrupted=interrupted).exit_code == expected


def test_nothing_grows_with_the_number_of_pictures():
    tally = Tally()
    for index in range(12_000):
        tally.add_time("write", float(index))
    assert len(tally.recent["write"]) == 10_000
    assert tally.summary(Path("runs"), (), 1.0, False).percentiles_ms["write"][1] == pytest.approx(6999.5)
