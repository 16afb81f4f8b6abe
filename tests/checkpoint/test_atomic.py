import errno
import os
import random
import subprocess
import sys
import time

import pytest

from vedette.checkpoint import atomic
from vedette.checkpoint.atomic import TEMPORARY_SUFFIX, atomic_file, remove_stale_temporaries, write_atomic
from vedette.errors import WriteError

OLD, NEW = b"old " * 1000, b"new! " * 3000
STEPS = ("create_file", "write_bytes", "sync_file", "replace_file", "sync_folder")


class FailingDisk:
    """Makes the n-th of all calls to the disk fail; writes go out in small pieces, so that there are many."""

    def __init__(self, monkeypatch, code=errno.EIO):
        self.calls = 0
        self.failing = 0
        self.code = code
        for name in STEPS:
            monkeypatch.setattr(atomic, name, self._counted(getattr(atomic, name), name))

    def _counted(self, call, name):
        def counted(*arguments):
            self.calls += 1
            if self.calls == self.failing:
                raise OSError(self.code, os.strerror(self.code))
            if name == "write_bytes":
                descriptor, data = arguments
                return call(descriptor, data[:4000])
            return call(*arguments)

        return counted

    def fail_call(self, number):
        self.calls, self.failing = 0, number


def survivors(disk, write, path):
    """Contents of the file after a failure of the first call, the second, ... until the writer gets through."""
    contents = []
    for number in range(1, 100):
        path.write_bytes(OLD)
        disk.fail_call(number)
        try:
            write(path, NEW)
        except (WriteError, OSError):
            contents.append(path.read_bytes() if path.exists() else b"")
            assert [entry.name for entry in path.parent.iterdir()] in ([path.name], [])
            continue
        return contents
    raise AssertionError("the writer never got through")


def write_in_place(path, data):
    """How not to do it: the negative control."""
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
    try:
        view = memoryview(data)
        while view.nbytes:
            view = view[atomic.write_bytes(descriptor, view) :]
        atomic.sync_file(descriptor)
    finally:
        os.close(descriptor)


def test_a_failure_of_any_call_leaves_the_old_or_the_new_file(tmp_path, monkeypatch):
    contents = survivors(FailingDisk(monkeypatch), write_atomic, tmp_path / "file")
    assert len(contents) >= 8
    assert set(contents) <= {OLD, NEW}
    assert contents[0] == OLD


def test_the_fault_test_notices_a_writer_that_works_in_place(tmp_path, monkeypatch):
    contents = survivors(FailingDisk(monkeypatch), write_in_place, tmp_path / "file")
    assert set(contents) - {OLD, NEW}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_called_a_full_disk(tmp_path, monkeypatch, code):
    path = tmp_path / "file"
    path.write_bytes(OLD)
    FailingDisk(monkeypatch, code).fail_call(3)
    with pytest.raises(WriteError, match=r"disk full: 0\.0 MB needed, [\d.]+ MB free") as caught:
        write_atomic(path, NEW)
    assert caught.value.exit_code == 3
    assert path.read_bytes() == OLD


def test_too_little_room_is_seen_before_anything_is_written(tmp_path):
    path = tmp_path / "file"
    with pytest.raises(WriteError, match="disk full: 10000000000000"), atomic_file(path, 10**19):
        raise AssertionError("unreachable")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(WriteError, match="folder does not exist"):
        write_atomic(tmp_path / "missing" / "file", NEW)


def test_an_error_of_the_caller_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(OLD)

    def interrupted():
        with atomic_file(path, 10) as writer:
            writer.write(NEW)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == OLD
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 5000])
def test_what_was_written_is_read(tmp_path, data):
    path = tmp_path / "file"
    write_atomic(path, data)
    write_atomic(path, data)
    assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]


def test_a_call_that_takes_no_bytes_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "write_bytes", lambda descriptor, data: 0)
    with pytest.raises(WriteError, match="accepted no bytes"):
        write_atomic(tmp_path / "file", b"x")
    assert list(tmp_path.iterdir()) == []


def test_what_killed_writers_left_is_removed(tmp_path):
    stale = tmp_path / f".state.0011{TEMPORARY_SUFFIX}"
    stale.write_bytes(b"half")
    kept = tmp_path / "state"
    kept.write_bytes(b"whole")
    assert remove_stale_temporaries(tmp_path) == [stale]
    assert list(tmp_path.iterdir()) == [kept]


def test_a_folder_that_cannot_be_flushed_is_no_failure(tmp_path, monkeypatch):
    def refuse(descriptor):
        raise OSError(errno.EINVAL, "not for folders")

    monkeypatch.setattr(atomic.os, "fsync", refuse)
    atomic.sync_folder(tmp_path)

    def sick(descriptor):
        raise OSError(errno.EIO, "sick")

    monkeypatch.setattr(atomic.os, "fsync", sick)
    if os.name != "nt":
        with pytest.raises(OSError, match="sick"):
            atomic.sync_folder(tmp_path)


KILLED_WRITER = """
import itertools, sys
from pathlib import Path
from vedette.checkpoint.atomic import write_atomic
for number in itertools.count():
    write_atomic(Path(sys.argv[1]), bytes([number % 256]) * (1 << 20))
    print(number, flush=True)
"""


def test_a_killed_writer_leaves_a_whole_file(tmp_path):
    """Ten kills at random moments of a process that does nothing but save."""
    path = tmp_path / "file"
    moments = random.Random(0)
    for _ in range(10):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED_WRITER, str(path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(moments.uniform(0, 0.05))
            process.kill()
        content = path.read_bytes()
        assert len(content) == 1 << 20
        assert len(set(content)) == 1
    remove_stale_temporaries(tmp_path)
    assert list(tmp_path.iterdir()) == [path]
