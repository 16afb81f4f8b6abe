"""One process at a time, and never a lock that stays behind."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from vedette.errors import UsageError, WriteError
from vedette.train.folder import run_lock as module
from vedette.train.folder.run_lock import LOCK_NAME, run_lock

HOLDER = """
import sys
from pathlib import Path
from vedette.train.folder.run_lock import run_lock
with run_lock(Path(sys.argv[1])) as locked:
    print(locked, flush=True)
    sys.stdin.readline()
"""


def _holder(folder: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock until it reads a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "True"
    return process


def test_a_second_process_is_told_who_is_there(tmp_path: Path) -> None:
    holder = _holder(tmp_path)
    words = rf"is in use: process {holder.pid} on {socket.gethostname()} \(since 20..-"
    for _ in range(2):  # a refusal changes nothing
        with pytest.raises(UsageError, match=words) as caught, run_lock(tmp_path):
            raise AssertionError("unreachable")
    assert caught.value.exit_code == 2
    assert caught.value.where == str(tmp_path)
    holder.communicate("\n", timeout=60)
    assert (tmp_path / LOCK_NAME).read_bytes() == b""
    with run_lock(tmp_path) as locked:
        assert locked


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    holder = _holder(tmp_path)
    holder.kill()
    holder.communicate(timeout=60)
    assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == holder.pid
    with run_lock(tmp_path) as locked:
        assert locked
        assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == os.getpid()


def test_an_error_in_the_run_gives_the_lock_back(tmp_path: Path) -> None:
    def failing_run() -> None:
        with run_lock(tmp_path):
            raise KeyError("a bug")

    with pytest.raises(KeyError):
        failing_run()
    _holder(tmp_path).communicate("\n", timeout=60)


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"[1]", b'{"pid": "x"}', b"{" * 5000])
def test_a_holder_that_cannot_be_read_is_another_process(tmp_path: Path, text: bytes) -> None:
    holder = _holder(tmp_path)
    if sys.platform != "win32":
        (tmp_path / LOCK_NAME).write_bytes(text)
    with pytest.raises(UsageError, match="is in use"), run_lock(tmp_path):
        raise AssertionError("unreachable")
    holder.communicate("\n", timeout=60)


def test_a_file_system_without_locks_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(module, "_lock_byte", refuse)
    with run_lock(tmp_path) as locked:
        assert not locked


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"run\.lock: cannot be written"), run_lock(tmp_path / "missing"):
        raise AssertionError("unreachable")
