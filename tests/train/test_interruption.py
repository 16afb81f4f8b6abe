"""Signals become a request to stop; a second one acts as ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

import pytest

from vedette.train.distributed.ranks import ALONE, Ranks
from vedette.train.interruption import StopRequest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send these signals to itself")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_request(number: signal.Signals) -> None:
    with StopRequest() as stop:
        assert not stop
        os.kill(os.getpid(), number)
        assert stop
        assert stop.signal_number == number


class TwoRanks(Ranks):
    """This rank, and one that was asked to stop or has a wish."""

    def exchange(self, values: Sequence[float]) -> list[list[float]]:
        return [list(map(float, values)), [15.0, 1.0]]


def test_a_request_to_one_rank_is_one_to_all() -> None:
    stop = StopRequest()
    assert stop.agreed(ALONE) == (False, False)
    assert stop.agreed(ALONE, True) == (False, True)
    assert stop.agreed(TwoRanks()) == (True, True)
    assert stop.signal_number == signal.SIGTERM
    assert stop.agreed(ALONE) == (True, False)


def test_the_second_ctrl_c_interrupts() -> None:
    """In a process of its own: a test runner may have its own idea of what Ctrl-C does."""
    code = (
        "import os, signal\n"
        "from vedette.train.interruption import StopRequest\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background jobs ignore it
        "with StopRequest() as stop:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    assert stop\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    except KeyboardInterrupt:\n"
        "        print('interrupted')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stdout == "interrupted\n", result.stderr


def test_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_outside_the_main_thread_nothing_is_touched() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def enter() -> None:
        with StopRequest() as stop:
            seen.append((bool(stop), signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
