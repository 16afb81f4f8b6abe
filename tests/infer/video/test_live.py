"""Streams without a network: readers that do what the test says, threads and waiting as they are."""

import itertools
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from vedette.errors import DataError, MissingExtraError
from vedette.infer.video import live
from vedette.infer.video.live import LiveSettings, LiveStreams, SourceEvent
from vedette.infer.video.reader import VideoFrame, VideoItem

IMAGE = np.zeros((4, 4, 3), dtype=np.uint8)


def item(name):
    return VideoItem(name, Path(name), name, "stream")


class Connection:
    """One connection: gives ``frames`` pictures, then raises ``error`` or ends."""

    frame_rate = 25.0

    def __init__(self, frames=0, error=None, finite=False, wait=None, on_frame=None):
        self.count, self.error, self.finite = frames, error, finite
        self.wait, self.on_frame, self.closed = wait, on_frame, False

    def frames(self, stride=1):
        for index in itertools.count() if self.count is None else range(self.count):
            if self.on_frame is not None:
                self.on_frame(index)
            if index % stride == 0:
                yield VideoFrame(IMAGE, index, 0.0)
        if self.wait is not None:
            self.wait.wait(20)
        if self.error is not None:
            raise self.error

    def close(self):
        self.closed = True


class Network:
    """Answers attempts to open a stream one after the other: with a connection, or by raising."""

    def __init__(self, **answers):
        self.answers = {name: iter(script) for name, script in answers.items()}
        self.attempts = dict.fromkeys(answers, 0)
        self.opened = []

    def __call__(self, source, timeout_s):
        self.attempts[source.path] += 1
        answer = next(self.answers[source.path])
        if isinstance(answer, Exception):
            raise answer
        self.opened.append(answer)
        return answer


def refused(where="a"):
    return DataError("the connection failed (Connection refused)", where=where)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch):
    monkeypatch.setattr(live, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(live, "LONGEST_PAUSE_S", 0.01)


def all_of(streams, at_most=100):
    arrivals = [arrival for batch in streams.batches(at_most) for arrival in batch]
    streams.close()
    return arrivals


def told(arrivals, name):
    """What came of a stream: numbers of pictures, and kinds of events."""
    return [
        arrival.kind if isinstance(arrival, SourceEvent) else arrival.index
        for source, arrival in arrivals
        if source.path == name
    ]


KEEP = LiveSettings(keep_all=True, retries=2)


def test_a_lost_stream_is_asked_again_and_its_pictures_are_counted_on():
    lost = DataError("no answer for 5 s", where="a")
    network = Network(a=[Connection(3, lost), refused(), Connection(2, finite=True)])
    arrivals = all_of(LiveStreams([item("a")], KEEP, network))
    assert told(arrivals, "a") == ["opened", 0, 1, 2, "lost", "recovered", 3, 4, "ended"]
    events = {arrival.kind: arrival for _, arrival in arrivals if isinstance(arrival, SourceEvent)}
    assert events["lost"].error is lost
    assert (events["lost"].frames, events["ended"].frames) == (3, 5)
    frames = [arrival for _, arrival in arrivals if isinstance(arrival, VideoFrame)]
    assert events["recovered"].gap_ms == pytest.approx(frames[3].time_ms - frames[2].time_ms, abs=0.001)
    assert [frame.time_ms for frame in frames] == sorted(frame.time_ms for frame in frames)
    assert events["opened"].frame_rate == 25.0
    assert events["ended"].error is None
    assert events["lost"].utc.endswith("Z")
    assert all(connection.closed for connection in network.opened)


def test_given_up_after_so_many_attempts_and_the_others_go_on():
    network = Network(a=[Connection(1), *[refused()] * 9], b=[Connection(50, finite=True)])
    arrivals = all_of(LiveStreams([item("a"), item("b")], KEEP, network))
    assert told(arrivals, "a") == ["opened", 0, "lost", "ended"]
    assert told(arrivals, "b") == ["opened", *range(50), "ended"]
    assert network.attempts["a"] == 3, "once, and twice again"
    (given_up,) = [a for s, a in arrivals if s.path == "a" and getattr(a, "kind", "") == "ended"]
    assert "Connection refused" in str(given_up.error)


@pytest.mark.parametrize(("known", "expected"), [(False, 1 + 3), (True, 1 + 40)])
def test_attempts_where_the_user_gave_no_number(known, expected):
    network = Network(a=[*([Connection(1)] if known else []), *[refused()] * 60])
    arrivals = all_of(LiveStreams([item("a")], LiveSettings(), network))
    assert told(arrivals, "a")[-1] == "ended"
    assert network.attempts["a"] == expected


def test_for_ever_means_so():
    network = Network(a=[*[refused()] * 100, Connection(1, finite=True)])
    arrivals = all_of(LiveStreams([item("a")], LiveSettings(retries=-1), network))
    assert told(arrivals, "a") == ["lost", "opened", 0, "ended"]
    assert network.attempts["a"] == 101


def test_pauses_double_up_to_the_longest(monkeypatch):
    monkeypatch.setattr(live, "FIRST_PAUSE_S", 0.25)
    monkeypatch.setattr(live, "LONGEST_PAUSE_S", 3.0)
    pauses = []

    class Hurry(threading.Event):
        def wait(self, timeout=None):
            pauses.append(timeout)
            return self.is_set()

    streams = LiveStreams([], LiveSettings())
    channel = live._Channel(
        item("a"), LiveSettings(retries=7), Network(a=[refused()] * 8), streams._arrived, Hurry(), 0.0
    )
    channel.run()
    assert pauses == [0.25, 0.5, 1.0, 2.0, 3.0, 3.0, 3.0]


def test_what_a_new_attempt_cannot_mend_ends_the_stream_at_once():
    network = Network(a=[MissingExtraError("mss", "screen", "reading the screen")])
    arrivals = all_of(LiveStreams([item("a")], LiveSettings(retries=-1), network))
    assert told(arrivals, "a") == ["ended"]


def test_a_stream_that_fails_after_its_announced_end_is_over():
    """A recording that is served as a stream is not begun again from its start."""
    network = Network(a=[Connection(4, DataError("ends after 1 s of 9 s", where="a"), finite=True)])
    arrivals = all_of(LiveStreams([item("a")], KEEP, network))
    assert told(arrivals, "a") == ["opened", 0, 1, 2, 3, "ended"]
    assert "1 s of 9 s" in str(arrivals[-1][1].error)


def test_who_is_slow_gets_the_newest_picture_and_the_others_are_counted():
    sent, seen = threading.Event(), threading.Event()

    def on_frame(index):
        if index == 100:
            sent.set()
            assert seen.wait(20)

    network = Network(a=[Connection(101, on_frame=on_frame, finite=True)])
    streams = LiveStreams([item("a")], LiveSettings(), network)
    assert sent.wait(20)
    (batch,) = itertools.islice(streams.batches(100), 1)
    assert told(batch, "a") == ["opened", 99]
    seen.set()
    rest = all_of(streams)
    assert told(rest, "a") == [100, "ended"]
    assert rest[-1][1].dropped == 99
    assert rest[-1][1].frames == 101


def test_where_all_are_kept_the_sender_waits():
    network = Network(a=[Connection(1000, finite=True)])
    streams = LiveStreams([item("a")], KEEP, network)
    deadline = time.monotonic() + 20
    while len(streams._channels[0].waiting) < live.MOST_KEPT and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.05)
    assert len(streams._channels[0].waiting) == live.MOST_KEPT
    assert told(all_of(streams, 7), "a") == ["opened", *range(1000), "ended"]


def test_all_streams_go_together_and_none_waits_for_another():
    hold = threading.Event()
    network = Network(
        a=[Connection(20, finite=True)],
        b=[Connection(20, finite=True)],
        c=[Connection(0, wait=hold, finite=True)],
    )
    streams = LiveStreams([item(name) for name in "abc"], KEEP, network)
    while any(not channel.done for channel in streams._channels[:2]):
        time.sleep(0.005)
    batches = streams.batches(8)
    first = next(batches)
    assert [source.path for source, _ in first] == ["a", "b"] * 4
    got = len(first)
    while got < 2 * 22:
        got += len(next(batches))
    hold.set()
    assert [told(batch, "c") for batch in batches] == [["ended"]]
    streams.close()


def test_numbers_count_what_a_stride_leaves_out():
    network = Network(a=[Connection(7), Connection(7, finite=True)])
    settings = LiveSettings(keep_all=True, stride=3)
    arrivals = all_of(LiveStreams([item("a")], settings, network))
    assert told(arrivals, "a") == ["opened", 0, 3, 6, "lost", "recovered", 7, 10, 13, "ended"]


def test_closing_ends_the_threads():
    before = set(threading.enumerate())
    network = Network(a=[Connection(None)], b=itertools.repeat(refused("b")))
    streams = LiveStreams([item("a"), item("b")], LiveSettings(retries=-1), network)
    next(streams.batches(1))
    streams.close()
    assert set(threading.enumerate()) == before


def test_closing_does_not_wait_for_a_silent_stream():
    hold = threading.Event()
    streams = LiveStreams([item("a")], LiveSettings(), Network(a=[Connection(1, wait=hold)]))
    next(streams.batches(1))
    begun = time.monotonic()
    streams.close()
    waited = time.monotonic() - begun
    hold.set()
    assert waited < 10, "the stream would be silent for 20 s"


def test_a_defect_of_ours_is_raised_where_the_pictures_are_taken():
    streams = LiveStreams([item("a")], LiveSettings(), Network(a=[ZeroDivisionError("ours")]))
    with pytest.raises(ZeroDivisionError):
        all_of(streams)
