import os

import pytest

from vedette.config.detect import DetectConfig
from vedette.core.device import lane_threads, thread_count
from vedette.errors import ConfigError, UsageError
from vedette.infer.lanes import MOST_LANES, chosen_lanes, lanes_on, usual_lanes
from vedette.infer.sources import Source, SourceItem
from vedette.infer.video.reader import VideoItem


def items(count):
    return tuple(SourceItem(str(number), f"{number}.png") for number in range(count))


VIDEO = VideoItem("a.webm", "a.webm", "a.webm")
CAMERA = VideoItem("0", "camera0", "0", "camera")


def chosen(source, gains=True, **values):
    return chosen_lanes(DetectConfig.parse({"source": "unused", **values}), source, gains)


@pytest.mark.parametrize(
    ("source", "threads", "lanes"),
    [
        (Source(items(1)), 4, 1),
        (Source(items(3)), 4, 3),
        (Source(items(2), arrays=items(1)), 4, 3),
        (Source(items(100)), 4, 4),
        (Source(items(100)), 1, 1),
        (Source(items(100)), 100, MOST_LANES),
        (Source(videos=(VIDEO,)), 4, 4),
        (Source(items(1), videos=(VIDEO,)), 4, 4),
        (Source(items(100), streams=(CAMERA,)), 4, 1),
        (Source(), 4, 1),
    ],
)
def test_what_is_looked_at_decides(source, threads, lanes):
    assert chosen(source, threads=threads) == lanes


def test_all_threads_of_the_machine_are_used():
    assert usual_lanes() == min(thread_count(), MOST_LANES)
    assert thread_count() <= (os.cpu_count() or 1)


def test_what_gains_nothing_has_one_lane_unless_more_are_asked_for():
    assert chosen(Source(items(9)), gains=False, threads=4) == 1
    assert chosen(Source(items(9)), gains=False, threads=4, lanes=3) == 3


def test_tiles_have_one_lane_unless_more_are_asked_for():
    assert chosen(Source(items(9)), threads=4, tile=640) == 1
    assert chosen(Source(items(9)), threads=4, tile=640, lanes=2) == 2


def test_what_was_asked_for_is_taken():
    assert [chosen(Source(items(9)), threads=4, lanes=lanes) for lanes in (1, 2, 4)] == [1, 2, 4]
    assert chosen(Source(items(9), streams=(CAMERA,)), threads=4, lanes=1) == 1


def test_what_makes_no_sense_is_refused_by_name():
    with pytest.raises(UsageError, match=r"--lanes 5: there are 4 threads.*give at most 4"):
        chosen(Source(items(9)), threads=4, lanes=5)
    with pytest.raises(UsageError, match=r"--lanes 2: pictures of a stream or camera would come late"):
        chosen(Source(streams=(CAMERA,)), threads=4, lanes=2)
    with pytest.raises(ConfigError, match=r"lanes: Input should be greater than or equal to 0 \(got -1\)"):
        chosen(Source(items(9)), lanes=-1)


def test_lanes_are_of_the_cpu():
    assert lanes_on("cpu", 4, 0) == 4
    assert lanes_on("cuda:0", 4, 0) == 1
    assert lanes_on("cuda:0", 1, 1) == 1
    with pytest.raises(UsageError, match=r"--lanes 4: .*the network runs on cuda:0"):
        lanes_on("cuda:0", 4, 4)


def test_threads_are_shared_out():
    assert [lane_threads(8, lanes) for lanes in (1, 2, 3, 8, 16)] == [8, 4, 2, 1, 1]
    assert lane_threads(0, 1) == 0, "all, as without lanes"
    assert lane_threads(0, thread_count()) == 1
