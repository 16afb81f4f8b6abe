"""Runs of the real command in child processes that start at once, and whose disk can be made to fail.

As a program it imports torch and vedette and then forks a child for every line it reads: killing and resuming a
training dozens of times costs seconds instead of minutes. Each child runs ``vedette.__main__.main`` alone, so to the
files and to the operating system it is a run like any other.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
PRELOADED = ("hotcoco", "torch._dynamo", "vedette.cli.train", "vedette.track.console", "vedette.train.run")
"""What every run imports in any case; none of it starts threads, which a fork would not survive."""


class Launcher:
    """Starts runs, one at a time. To be closed."""

    def __init__(self, outputs: Path) -> None:
        outputs.mkdir(parents=True, exist_ok=True)
        self._output = outputs / "output.txt"
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.flow.launcher"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        self.pid = 0
        self._unfinished = False

    def start(self, arguments: Sequence[object], fault: dict[str, Any] | None = None) -> int:
        """Begin a run and return its process number. One that nobody waited for is ended first."""
        if self._unfinished:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.wait()
        request = {
            "arguments": [str(part) for part in arguments],
            "fault": fault,
            "output": str(self._output),
        }
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        self.pid, self._unfinished = self._answer()["pid"], True
        return self.pid

    def runs(self) -> bool:
        """Whether the run is still there."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def wait(self) -> tuple[int, str]:
        """Exit code of the run (negative: the signal it died of), and all it printed."""
        code: int = self._answer()["code"]
        self._unfinished = False
        return code, self._output.read_text(encoding="utf-8", errors="replace")

    def run(self, arguments: Sequence[object], fault: dict[str, Any] | None = None) -> tuple[int, str]:
        """Start a run and wait for its end."""
        self.start(arguments, fault)
        return self.wait()

    def close(self) -> None:
        """End the launcher; a run that nobody waited for ends too."""
        if self._unfinished:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self._process.kill()
        self._process.communicate(timeout=60)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the launcher is gone"
        answer: dict[str, Any] = json.loads(line)
        return answer


def _serve() -> None:
    for name in PRELOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _run(request)
        _say({"pid": child})
        _, status = os.waitpid(child, 0)
        _say({"code": os.waitstatus_to_exitcode(status)})


def _say(answer: dict[str, int]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _run(request: dict[str, Any]) -> None:
    """One command, then the end of this process."""
    from tests.flow.faults import install
    from vedette.__main__ import main

    code = 1
    try:
        output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        sys.argv = ["vedette", *request["arguments"]]
        if request["fault"] is not None:
            install(**request["fault"])
        code = main()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
