"""Notices that another rank has failed, was killed or was stopped, and ends this process with a message that names it.

Every rank has a record in the store that the launcher or rank 0 keeps: who it is, a number that goes up about once a
second, and how it ended. A thread of every rank keeps its own record going and reads those of the others, so a rank
may be busy for as long as it likes (write a checkpoint, draw plots, measure): only a *process* that no longer runs
stops beating. That is why collective operations need no short time-out of their own.

A second thread judges what the first one read. It must not talk to the store itself: when the process that keeps the
store is stopped, every request to it hangs.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

from vedette.errors import EXIT_RANK_LOST, RankError

_BEATS_PER_TIMEOUT = 10
_LONGEST_INTERVAL = 1.0
_MISSED_BEATS = 4
"""Beats that must be missing before a rank is named as the reason of a collective operation that failed."""
_GRACE_SECONDS = 2.0
"""How long the main thread gets to end the process in its own way once another rank has failed."""
_LAST_WORDS = 1000
_LAST_WORDS_SECONDS = 2.0
RESUME = "look at the output of that rank; go on with: vedette train --resume RUN_FOLDER"


class Store(Protocol):
    """What is used of a ``torch.distributed.Store``. Every call raises RuntimeError if its keeper is gone."""

    def set(self, key: str, value: str) -> None:
        """Write a value."""

    def get(self, key: str) -> bytes:
        """Read a value, once it exists."""

    def multi_get(self, keys: list[str]) -> list[bytes]:
        """Read values, once they exist."""

    def check(self, keys: list[str]) -> bool:
        """Whether all of them exist."""

    def wait(self, keys: list[str], timeout: timedelta) -> None:
        """Wait until all of them exist."""


@dataclass
class Record:
    """What is known of a rank.

    Attributes:
        changed: when its beat was last seen to go on, by this process's monotonic clock.
        beat: the number it last showed.
        place: machine and process, for people.
        ended: it left; a rank that has ended is no longer expected to beat.
        error: why it left, if it was an error.
    """

    changed: float
    beat: int = 0
    place: str = ""
    ended: bool = False
    error: str = ""

    def read(self, raw: bytes, now: float) -> None:
        """Take over what the rank says."""
        values = json.loads(raw)
        if values["beat"] != self.beat:
            self.beat, self.changed = values["beat"], now
        self.place, self.ended, self.error = values["place"], values["ended"], values["error"]


def lost_rank(records: Mapping[int, Record], now: float, timeout: float) -> str:
    """What is wrong with the other ranks, for people; empty if nothing is.

    Args:
        records: of the other ranks.
        now: this process's monotonic clock.
        timeout: seconds without a beat after which a rank is taken for dead.
    """
    for rank, record in sorted(records.items()):
        if record.error:
            return f"rank {rank} ({record.place}) failed: {record.error}"
    silent = [rank for rank, record in sorted(records.items()) if not record.ended]
    silent = [rank for rank in silent if now - records[rank].changed > timeout]
    if not silent:
        return ""
    names = ", ".join(f"rank {rank} ({records[rank].place})" for rank in silent)
    longest = max(now - records[rank].changed for rank in silent)
    return f"{names} has not answered for {longest:.0f} s: killed, stopped or cut off"


def end_process(text: str) -> None:
    """Say why, and leave without the main thread, which may be waiting for a dead rank inside a library."""
    print(f"vedette: error: {text}; {RESUME}", file=sys.stderr, flush=True)  # noqa: T201
    os._exit(EXIT_RANK_LOST)


@dataclass
class Watch:
    """Keeps this rank's record going and watches the others'.

    Attributes:
        store: shared by all ranks; used by this object alone, since a connection serves one request at a time.
        rank: number of this rank.
        world_size: how many there are.
        timeout: seconds without a beat after which a rank is taken for dead.
        keeper: who keeps the store, for people.
        end: ends the process, given the reason.
    """

    store: Store
    rank: int
    world_size: int
    timeout: float
    keeper: str
    end: Callable[[str], None] = end_process
    _beat: int = 0
    _answered: float = 0.0
    _records: dict[int, Record] = field(default_factory=dict)
    _finding: str = ""
    _leaving: threading.Event = field(default_factory=threading.Event)
    _asking: threading.Lock = field(default_factory=threading.Lock)

    def announce(self) -> None:
        """Write this rank's first record. Every rank must have done so before any of them is started."""
        self._publish()

    def start(self) -> None:
        """Start both threads."""
        now = time.monotonic()
        self._answered = now
        self._records = {rank: Record(now) for rank in range(self.world_size) if rank != self.rank}
        for work in (self._keep_beating, self._keep_judging):
            threading.Thread(target=work, name="vedette-ranks", daemon=True).start()

    def leave(self, error: str = "") -> None:
        """Stop watching and tell the others how this rank ended; if the store does not answer, they find out."""
        self._leaving.set()
        _do_for(_LAST_WORDS_SECONDS, lambda: self._publish(ended=True, error=error[:_LAST_WORDS]))

    def wait_for_end(self, ranks: Sequence[int], seconds: float) -> None:
        """Wait until these ranks have ended, in whatever way, but not longer than this."""
        give_up = time.monotonic() + seconds

        def wait() -> None:
            while time.monotonic() < give_up and not all(self._records[rank].ended for rank in ranks):
                time.sleep(0.05)
                self._read()

        _do_for(seconds, wait)

    def explain(self, error: Exception) -> RankError:
        """The error of a collective operation, with the rank that is its reason as soon as that is known."""
        give_up = time.monotonic() + (_MISSED_BEATS + 2) * self.interval
        while not self._finding and time.monotonic() < give_up:
            time.sleep(0.05)
        finding = self._finding or lost_rank(self._records, time.monotonic(), _MISSED_BEATS * self.interval)
        detail = " ".join(str(error).split())[:300]
        return RankError(finding or f"the ranks lost each other ({detail})", fix=RESUME)

    @property
    def interval(self) -> float:
        """Seconds between two beats."""
        return min(_LONGEST_INTERVAL, self.timeout / _BEATS_PER_TIMEOUT)

    def _publish(self, *, ended: bool = False, error: str = "") -> None:
        with self._asking:
            if self._leaving.is_set() and not ended:
                return
            self._beat += 1
            record: dict[str, Any] = {"beat": self._beat, "ended": ended, "error": error}
            record["place"] = f"{socket.gethostname()}, process {os.getpid()}"
            self.store.set(record_key(self.rank), json.dumps(record))

    def _read(self) -> None:
        others = list(self._records)
        with self._asking:
            raw = self.store.multi_get([record_key(rank) for rank in others])
        now = time.monotonic()
        for rank, value in zip(others, raw, strict=True):
            self._records[rank].read(value, now)
        self._answered = now

    def _keep_beating(self) -> None:
        while not self._leaving.wait(self.interval):
            try:
                self._publish()
                self._read()
            except RuntimeError:
                self._answered = -self.timeout  # the connection is gone for good
                return

    def _keep_judging(self) -> None:
        while not self._leaving.wait(self.interval / 2):
            now = time.monotonic()
            self._finding = lost_rank(self._records, now, self.timeout)
            if not self._finding and now - self._answered > self.timeout:
                self._finding = f"{self.keeper} is gone or does not answer"
            if self._finding:
                break
        if self._finding and not self._leaving.wait(_GRACE_SECONDS):
            self.leave()
            self.end(self._finding)


def _do_for(seconds: float, work: Callable[[], None]) -> None:
    """Try something that may hang or fail because the store is gone, and go on after this long."""

    def attempt() -> None:
        with contextlib.suppress(RuntimeError):
            work()

    thread = threading.Thread(target=attempt, name="vedette-ranks", daemon=True)
    thread.start()
    thread.join(seconds)


def record_key(rank: int) -> str:
    """Where the record of a rank lies in the store."""
    return f"rank/{rank}"
