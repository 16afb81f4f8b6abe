"""Ctrl-C and SIGTERM as a request to stop after the current optimizer step."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from vedette.train.distributed.ranks import Ranks


class StopRequest:
    """While entered, SIGINT and SIGTERM set ``signal_number`` instead of ending the process.

    A second signal acts as it would have without us. Outside the main thread, where Python cannot handle
    signals, nothing is changed. The earlier handlers come back on exit.
    """

    def __init__(self) -> None:
        self.signal_number = 0
        self._earlier: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._earlier[number] = signal.signal(number, self._take_note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def agreed(self, ranks: Ranks, wish: bool = False) -> tuple[bool, bool]:
        """Whether any rank was asked to stop, and whether any of them has this wish: the same answer on all ranks.

        All ranks call this at the same step. A request to one of them becomes that of all.
        """
        answers = ranks.exchange([self.signal_number, wish])
        asked = max(round(signal_number) for signal_number, _ in answers)
        if asked:
            self.signal_number = asked
        return asked != 0, any(wish for _, wish in answers)

    def __bool__(self) -> bool:
        return self.signal_number != 0

    def _take_note(self, number: int, frame: FrameType | None) -> None:
        self.signal_number = number
        self._restore()

    def _restore(self) -> None:
        while self._earlier:
            number, handler = self._earlier.popitem()
            signal.signal(number, handler)
