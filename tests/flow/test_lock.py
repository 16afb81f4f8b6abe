"""Two runs cannot share a folder, however the second one is started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.flow.small_runs import SmallRuns, intact_files
from vedette.train.folder.run_lock import run_lock


def test_a_second_run_is_refused_and_the_first_goes_on(small_runs: SmallRuns, tmp_path: Path) -> None:
    """Both are real trainings; the second is the plain command, which would clear the folder."""
    folder, endless = tmp_path / "run" / "exp", 100_000
    pid = small_runs.launcher.start(small_runs.arguments(folder, epochs=endless))
    while small_runs.launcher.runs() and not any(folder.glob("state/state-*.safetensors")):
        time.sleep(0.02)
    arguments = map(str, small_runs.arguments(folder, "--exist-ok"))
    plain = [sys.executable, "-W", "error", "-m", "vedette", *arguments]
    result = subprocess.run(plain, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 2, result.stdout + result.stderr
    assert f"exp: is in use: process {pid} on " in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert small_runs.launcher.runs()
    os.kill(pid, signal.SIGTERM)
    code, output = small_runs.launcher.wait()
    assert code == 143, output
    assert len(intact_files(folder)) >= 2


def test_a_refused_run_touches_nothing(small_runs: SmallRuns, tmp_path: Path) -> None:
    """Neither a new run in the folder, nor --resume, nor --resume alone, which would choose this run."""
    folder = tmp_path / "run" / "exp"
    code, output = small_runs.launcher.run(small_runs.arguments(folder))
    assert code == 0, output
    commands = [
        small_runs.arguments(folder, "--exist-ok"),
        ["train", "--resume", folder],
        ["train", "--project", folder.parent, "--resume"],
    ]
    with run_lock(folder):
        before = _contents(folder)
        for arguments in commands:
            code, output = small_runs.launcher.run(arguments)
            assert code == 2, output
            assert f"is in use: process {os.getpid()} on " in output
        assert _contents(folder) == before
    code, output = small_runs.launcher.run(commands[0])
    assert code == 0, output
    small_runs.assert_same_bits(folder)


def _contents(folder: Path) -> dict[str, bytes]:
    # Reading the lock's file would give the lock away: it ends with any descriptor of its process.
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "run.lock")
    return {path.as_posix(): path.read_bytes() for path in files}
