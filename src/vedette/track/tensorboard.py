"""TensorBoard: the published scalars of every epoch and how often each class was labelled.

The event file is written record by record, without TensorBoard's own writer threads and without TensorFlow.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vedette.errors import MissingExtraError
from vedette.track.events import EpochDone, Event, RunStarted
from vedette.track.published import scalars


class TensorBoardTracker:
    """Writes one event file a part of a run into the run folder.

    The step is the epoch, counted from 0. A resumed run marks its first epoch, so that TensorBoard leaves out
    what an earlier part had written of epochs that are done again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._records: Any = None

    def handle(self, event: Event) -> None:
        """Write what is shown of ``event``. Raises MissingExtraError, OSError."""
        if isinstance(event, RunStarted):
            self._open(event)
        elif isinstance(event, EpochDone):
            step = int(event.row["epoch"] or 0)
            values = [{"tag": tag, "simple_value": value} for tag, value in scalars(event.row).items()]
            self._write(step=step, summary={"value": values})

    def close(self) -> None:
        """Close the file."""
        if self._records is not None:
            self._records.close()

    def _open(self, event: RunStarted) -> None:
        try:
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ImportError:
            raise MissingExtraError("tensorboard", "tensorboard", "--track tensorboard") from None
        name = f"events.out.tfevents.{time.time_ns() // 10**9:010d}.{socket.gethostname()}.{os.getpid()}"
        self._folder.mkdir(parents=True, exist_ok=True)
        # Resumed within a second: append to the file, never shorten it.
        self._records = RecordWriter((self._folder / name).open("ab"))
        self._write(file_version="brain.Event:2")
        if event.step:
            self._write(step=len(event.history), session_log={"status": "START"})
        elif event.data.get("class_counts"):
            histogram = class_histogram(event.data["class_counts"])
            self._write(step=0, summary={"value": [{"tag": "classes", "histo": histogram}]})

    def _write(self, **fields: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event as Record

        self._records.write(Record(wall_time=time.time(), **fields).SerializeToString())
        self._records.flush()


def class_histogram(counts: Sequence[int]) -> dict[str, Any]:
    """TensorBoard's histogram of the class ids of all boxes: one bucket a class, from its id - 0.5 to + 0.5."""
    present = [class_id for class_id, count in enumerate(counts) if count]
    return {
        "min": min(present, default=0),
        "max": max(present, default=0),
        "num": sum(counts),
        "sum": sum(class_id * count for class_id, count in enumerate(counts)),
        "sum_squares": sum(class_id**2 * count for class_id, count in enumerate(counts)),
        "bucket_limit": [class_id + 0.5 for class_id in range(len(counts))],
        "bucket": [float(count) for count in counts],
    }
