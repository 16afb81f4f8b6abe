"""A tracker in a process of its own, as seen from the run: :mod:`vedette.track.child` is the other side."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from vedette.errors import VedetteError
from vedette.track.child import FRAME_HEADER
from vedette.track.events import EpochDone, Event, Note, RunFinished, StepDone

# An empty entry is the working directory, where a user's `wandb.py` may lie.
_START = (
    "import sys; sys.path[:] = [place for place in sys.path if place]; "
    "from vedette.track.child import main; sys.exit(main())"
)
_EXIT_SECONDS = 5.0


class TrackerError(VedetteError):
    """A tracker's process reported an error or ended; ``where`` is its log."""


class ChildTracker:
    """Hands events to a tracker in a child process, one at a time, each with an answer.

    Args:
        kind: which tracker, see :mod:`vedette.track.child`.
        settings: what it is built from; anything that can be pickled.
        log: file for what the process prints.
        environment: variables it gets where the user has not set them.
    """

    def __init__(self, kind: str, settings: object, *, log: Path, environment: Mapping[str, str]) -> None:
        self.notes: SimpleQueue[Note] = SimpleQueue()
        self._kind = kind
        self._settings = settings
        self._log = log
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False

    def handle(self, event: Event) -> None:
        """Hand ``event`` over and wait until it was handled. Raises TrackerError."""
        if isinstance(event, StepDone):
            return
        if isinstance(event, EpochDone | RunFinished):
            event = replace(event, history=())  # the rows were sent one by one
        if self._process is None and not self._ended:
            self._start()
        self._exchange(event)

    def close(self) -> None:
        """Let the tracker finish and the process end. Raises TrackerError."""
        if self._process is None:
            return
        try:
            if not self._ended:
                self._exchange(None)
        finally:
            self._end()

    def abandon(self) -> None:
        """End the process whatever it does; may be called from any thread."""
        self._ended = True
        if self._process is not None:
            self._process.kill()

    def _start(self) -> None:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**self._environment, **os.environ},
                start_new_session=sys.platform != "win32",
            )
        self._exchange((self._kind, self._settings))

    def _exchange(self, message: Any) -> None:
        process = self._process
        if self._ended or process is None:
            raise TrackerError("its process was ended", where=self._log)
        assert process.stdin is not None
        assert process.stdout is not None
        frame = pickle.dumps(message)
        try:
            process.stdin.write(FRAME_HEADER.pack(len(frame)) + frame)
            process.stdin.flush()
            answer = process.stdout.readline()
        except (OSError, ValueError):  # broken or closed
            answer = b""
        if not answer:
            self._end()
            raise TrackerError("its process ended", where=self._log)
        content = json.loads(answer)
        for text in content["notes"]:
            self.notes.put(Note(text))
        if content["error"]:
            raise TrackerError(content["error"], where=self._log)

    def _end(self) -> None:
        process = self._process
        self._ended, self._process = True, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
