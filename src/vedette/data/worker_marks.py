"""Which picture each worker process is at, readable after the process is gone."""

from __future__ import annotations

import os

import torch
from torch.utils.data import get_worker_info

MAX_WORKERS = 256
_NO_PICTURE = -1


class WorkerMarks:
    """A small shared table: for every worker its process id and the picture it has taken up last."""

    def __init__(self) -> None:
        self._table = torch.full((MAX_WORKERS, 2), _NO_PICTURE, dtype=torch.int64).share_memory_()

    def mark(self, image_number: int) -> None:
        """Note that this worker turns to a picture; in the main process nothing is noted."""
        worker = get_worker_info()
        if worker is not None and worker.id < MAX_WORKERS:
            self._table[worker.id, 0] = os.getpid()
            self._table[worker.id, 1] = image_number

    def pictures_of(self, process_ids: list[int]) -> list[int]:
        """The last pictures of these processes; of all workers if the list is empty."""
        rows: list[list[int]] = self._table.tolist()
        return [
            number
            for process, number in rows
            if number != _NO_PICTURE and (process in process_ids or not process_ids)
        ]
