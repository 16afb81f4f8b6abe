"""Which picture each worker process is at, readable after the process is gone."""

from __future__ import annotations

import math
import os

import torch
from torch.utils.data import get_worker_info

MAX_WORKERS = 256
_NO_PICTURE = -1


class WorkerMarks:
    """A small shared table: for every worker its process id and the picture it has taken up last."""

    def __init__(self) -> None:
        self._table = shared_tensor((MAX_WORKERS, 2), torch.int64)
        self._table.fill_(_NO_PICTURE)

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


def shared_tensor(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """A tensor of zeros in memory that worker processes share."""
    count = math.prod(shape)
    # Tensor.share_memory_ would first make the tensor in ordinary memory and then copy it: twice the memory, all
    # of it touched. The system hands out shared memory as zeros and takes pages only when they are written.
    storage = torch.UntypedStorage._new_shared(max(count, 1) * dtype.itemsize)  # type: ignore[no-untyped-call]
    return torch.empty(0, dtype=dtype).set_(storage)[:count].view(shape)
