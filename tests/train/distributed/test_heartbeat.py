from __future__ import annotations

import json
import threading
import time
from datetime import timedelta

import pytest
import torch.distributed as dist

from vedette.errors import EXIT_RANK_LOST, RankError
from vedette.train.distributed.heartbeat import Record, Watch, end_process, lost_rank

TIMEOUT = 0.6


def _record(*, changed: float = 0.0, ended: bool = False, error: str = "") -> Record:
    return Record(changed=changed, place="host, process 7", ended=ended, error=error)


@pytest.mark.parametrize(
    ("record", "now", "words"),
    [
        (_record(), 5.0, ""),
        (_record(), 30.1, "rank 1 (host, process 7) has not answered for 30 s: killed, stopped or cut off"),
        (_record(ended=True), 100.0, ""),
        (_record(ended=True, error="no room"), 0.0, "rank 1 (host, process 7) failed: no room"),
    ],
)
def test_what_is_wrong_with_a_rank(record: Record, now: float, words: str) -> None:
    assert lost_rank({1: record}, now, 30.0) == words


def test_all_silent_ranks_are_named_and_an_error_comes_first() -> None:
    records = {0: _record(changed=99.0), 2: _record(), 3: _record()}
    assert lost_rank(records, 100.0, 30.0).startswith(
        "rank 2 (host, process 7), rank 3 (host, process 7) has not"
    )
    assert "failed: why" in lost_rank({**records, 5: _record(error="why")}, 100.0, 30.0)


def test_a_record_changes_only_with_its_beat() -> None:
    record = Record(changed=1.0)
    said = {"beat": 1, "place": "here", "ended": False, "error": ""}
    record.read(json.dumps(said).encode(), 2.0)
    record.read(json.dumps(said).encode(), 3.0)
    assert (record.changed, record.place) == (2.0, "here")
    record.read(json.dumps({**said, "beat": 2}).encode(), 4.0)
    assert record.changed == 4.0


class Pair:
    """Two ranks of one process that watch each other through a real store."""

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self.keeper = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self.ends: list[tuple[int, str]] = []
        self.ended = threading.Event()
        self.watches = [self._watch(rank, timeout) for rank in range(2)]
        for watch in self.watches:
            watch.announce()

    def _watch(self, rank: int, timeout: float) -> Watch:
        store = dist.TCPStore("127.0.0.1", self.keeper.port, is_master=False, wait_for_workers=False)

        def end(text: str) -> None:
            self.ends.append((rank, text))
            self.ended.set()

        return Watch(dist.PrefixStore("pair", store), rank, 2, timeout, keeper="the keeper", end=end)


def test_ranks_that_beat_leave_each_other_alone() -> None:
    """Negative control: both main threads do nothing for several time-outs."""
    pair = Pair()
    for watch in pair.watches:
        watch.start()
    assert not pair.ended.wait(4 * TIMEOUT)
    for watch in pair.watches:
        watch.leave()
    assert pair.ends == []


def test_a_rank_that_does_not_beat_ends_the_other() -> None:
    pair = Pair()
    pair.watches[0].start()
    assert pair.ended.wait(60)
    ((rank, text),) = pair.ends
    assert rank == 0
    assert "rank 1 (" in text
    assert "has not answered" in text


def test_a_rank_that_left_is_not_missed() -> None:
    pair = Pair()
    for watch in pair.watches:
        watch.start()
    pair.watches[1].leave()
    assert not pair.ended.wait(4 * TIMEOUT)
    pair.watches[0].wait_for_end([1], 60)
    pair.watches[0].leave()


def test_an_error_is_passed_on() -> None:
    pair = Pair(timeout=100.0)
    for watch in pair.watches:
        watch.start()
    pair.watches[1].leave("pictures/7.jpg: unreadable")
    assert pair.ended.wait(60)
    assert pair.ends[0][0] == 0
    assert pair.ends[0][1].endswith("failed: pictures/7.jpg: unreadable")


def test_a_failed_operation_is_explained() -> None:
    """Long before the time-out, since it is known that something is wrong; and a rank that beats is not blamed."""
    pair = Pair(timeout=4.0)
    pair.watches[0].start()
    error = pair.watches[0].explain(RuntimeError("Connection closed by peer"))
    pair.watches[0].leave()
    assert isinstance(error, RankError)
    assert error.exit_code == EXIT_RANK_LOST
    assert "rank 1 (" in str(error)
    assert "vedette train --resume" in str(error)

    pair = Pair(timeout=4.0)
    for watch in pair.watches:
        watch.start()
    error = pair.watches[0].explain(RuntimeError("Connection closed\nby peer"))
    for watch in pair.watches:
        watch.leave()
    assert error.what == "the ranks lost each other (Connection closed by peer)"


class GoneStore:
    """Answers once, then its keeper is gone, or stopped."""

    def __init__(self, *, hangs: bool) -> None:
        self._hangs = hangs
        self._calls = 0

    def set(self, key: str, value: str) -> None:
        self._calls += 1
        if self._calls > 1:
            if self._hangs:
                time.sleep(10)
            raise RuntimeError("connection reset")

    def get(self, key: str) -> bytes:
        raise RuntimeError

    def multi_get(self, keys: list[str]) -> list[bytes]:
        raise RuntimeError

    def check(self, keys: list[str]) -> bool:
        raise RuntimeError

    def wait(self, keys: list[str], timeout: timedelta) -> None:
        raise RuntimeError


@pytest.mark.parametrize("hangs", [True, False])
def test_the_keeper_of_the_store_can_be_lost(hangs: bool) -> None:
    ended, words = threading.Event(), list[str]()

    def end(text: str) -> None:
        words.append(text)
        ended.set()

    watch = Watch(GoneStore(hangs=hangs), 1, 2, TIMEOUT, keeper="the launcher", end=end)
    watch.announce()
    watch.start()
    assert ended.wait(60)
    assert "rank 0" in words[0] or "the launcher is gone" in words[0]


def test_the_end_says_why(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    codes: list[int] = []
    monkeypatch.setattr("os._exit", codes.append)
    end_process("rank 1 is gone")
    assert codes == [EXIT_RANK_LOST]
    text = capsys.readouterr().err
    assert text.startswith("vedette: error: rank 1 is gone; ")
    assert text.count("\n") == 1
