"""The process in which a tracker lives whose package changes the process it is in.

Experiment trackers install exit hooks, read their places from environment variables, report home, and may hang
when the network does. In a process of their own they can do so without reaching the training run.

Protocol: on standard input frames of 8 bytes (length, little-endian) and a pickle, sent by
:class:`vedette.track.child_process.ChildTracker`: first (kind, settings), then events, then None. On standard
output one JSON line for each frame: ``notes`` and ``error``. End of input without None: the run was killed.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import struct
import sys
from typing import Any, BinaryIO

from vedette.track.events import Tracker

FRAME_HEADER = struct.Struct("<Q")


def main() -> int:
    """Entry point of the process; returns its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which then closes this process
    frames = sys.stdin.buffer
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what packages print goes into the log
    tracker: Tracker | None = None
    try:
        while True:
            frame = read_frame(frames)
            if frame is None:
                break
            error = ""
            message = pickle.loads(frame)  # noqa: S301  # from our own parent process
            try:
                if message is None:
                    _close(tracker)
                elif tracker is None:
                    tracker = _build(*message)
                else:
                    tracker.handle(message)
            except Exception as problem:
                error = " ".join(f"{type(problem).__name__}: {problem}".split())[:500]
            _reply(replies, tracker, error)
            if message is None:
                return 0
    except BrokenPipeError:
        pass  # the parent is gone: the same as the end of input
    _close(tracker)
    return 1


def _close(tracker: Tracker | None) -> None:
    if tracker is not None:
        tracker.close()


def _build(kind: str, settings: Any) -> Tracker:
    if kind == "wandb":
        from vedette.track.weights_and_biases import WandbTracker

        return WandbTracker(settings)
    if kind == "mlflow":
        from vedette.track.mlflow_store import MlflowTracker

        return MlflowTracker(settings)
    raise ValueError(f"no tracker is called {kind!r}")


def _reply(replies: BinaryIO, tracker: Tracker | None, error: str) -> None:
    notes: list[str] = getattr(tracker, "notes", [])
    replies.write(json.dumps({"notes": notes, "error": error}).encode() + b"\n")
    replies.flush()
    notes.clear()


def read_frame(stream: BinaryIO) -> bytes | None:
    """The next frame, or None at the end of the stream, also in the middle of a frame."""
    header = stream.read(FRAME_HEADER.size)
    if len(header) < FRAME_HEADER.size:
        return None
    (length,) = FRAME_HEADER.unpack(header)
    frame = stream.read(length)
    return frame if len(frame) == length else None
