"""Signals become a request to stop; a second one acts as ever."""

from __future__ import annotations

import os
import signal
import sys
import threading

import pytest

from vedette.train.interruption import StopRequest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send these signals to itself")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_request(number: signal.Signals) -> None:
    with StopRequest() as stop:
        assert not stop
        os.kill(os.getpid(), number)
        assert stop
        assert stop.signal_number == number


def test_the_second_ctrl_c_interrupts() -> None:
    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with StopRequest():
        interrupt()
        with pytest.raises(KeyboardInterrupt):
            interrupt()


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
