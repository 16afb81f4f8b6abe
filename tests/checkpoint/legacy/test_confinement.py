from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_START = (
    "import os, socket, sys; from pathlib import Path; from vedette.checkpoint.legacy import confinement\n"
)


def run(program: str, file: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _START + program, str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.pt"
    path.write_bytes(b"kept")
    return path


@pytest.mark.parametrize(
    "action",
    [
        "import this",
        "open(sys.argv[1], 'w')",
        "open(sys.argv[1] + 'x')",
        "os.system('echo')",
        "socket.create_connection(('127.0.0.1', 9))",
        "eval('1')",
        "os.remove(sys.argv[1])",
    ],
)
def test_what_is_forbidden_ends_the_process(file: Path, action: str) -> None:
    block = "with confinement.confined(Path(sys.argv[1])):\n    open(sys.argv[1], 'rb').close()\n"
    done = run(f"{block}    {action}\n    print('done')", file)
    assert done.returncode == 86, done.stderr
    assert "forbidden while reading" in done.stderr
    assert file.read_bytes() == b"kept"


def test_afterwards_everything_is_allowed_again(file: Path) -> None:
    block = "with confinement.confined(Path(sys.argv[1])):\n    open(sys.argv[1], 'rb').close()\n"
    done = run(f"{block}open(sys.argv[1] + 'x', 'w').close(); import this", file)
    assert done.returncode == 0, done.stderr
    assert file.with_name("a.ptx").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
def test_memory_is_limited(file: Path) -> None:
    """Two gigabytes more than now, and six times the file; none of it is touched here."""
    for limit, expected in (("confinement.limit_resources(0)", "MemoryError"), ("pass", "")):
        done = run(f"{limit}\nblock = bytearray(3 << 30); print('done')", file)
        assert done.stderr.strip().endswith(expected)
        assert (done.stdout.strip() == "done") == (not expected)
