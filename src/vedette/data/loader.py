"""From numbered pictures to a stream of batches: places, batches, worker processes.

The stream of a run is fixed by (seed, epoch, position) alone: it does not depend on the number of workers or
ranks, nor on where a resumed run starts.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import multiprocessing.util
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from vedette.core.picture_format import RGB8, PictureFormat
from vedette.core.types import Batch, Sample
from vedette.data.collate import Collate, collate, collate_single
from vedette.data.memory import available_shared_memory
from vedette.data.order import PictureOrder, Place, ShuffledOrder
from vedette.data.pictures import PictureStore
from vedette.data.worker_marks import MAX_WORKERS, WorkerMarks
from vedette.errors import DataError, UsageError, VedetteError

if TYPE_CHECKING:
    from vedette.core.types import SizeHW

__all__ = [
    "BatchStream",
    "LoaderSettings",
    "MakeSample",
    "PictureStore",
    "Place",
    "RunSampler",
    "collate",
    "start_method",
]

_DEATH_SECONDS = 5.0
"""How long a worker whose connection broke may take to be gone."""

MakeSample = Callable[[int, int, int], Sample]
"""Makes the sample of a place; must be picklable to be used by workers."""


@dataclass(frozen=True)
class RunSampler:
    """The places of all batches of a run, across its epochs.

    Batches never span two epochs; the last one of an epoch may be smaller. With several ranks every global batch
    is cut into consecutive parts of (nearly) equal size, so that all ranks together see exactly what one would; a
    part may be empty.

    Attributes:
        pictures: how many there are.
        batch_size: samples of a step, over all ranks.
        epochs: passes of the whole run.
        seed: the run's seed.
        start_step: steps already done, over all epochs.
        rank: which part of every batch to give.
        world_size: number of parts.
        order: which picture comes when; None: every picture once an epoch, shuffled by ``seed``.
        group: so many neighbours of a batch are never parted between ranks.

    Raises:
        UsageError: a number is out of range.
    """

    pictures: int
    batch_size: int
    epochs: int
    seed: int
    start_step: int = 0
    rank: int = 0
    world_size: int = 1
    order: PictureOrder | None = None
    group: int = 1

    def __post_init__(self) -> None:
        if self.pictures < 1:
            raise UsageError("there is no picture to train on")
        if self.batch_size < 1 or self.epochs < 0 or self.start_step < 0:
            raise UsageError("batch size, epochs and start step must not be negative, the batch size not 0")
        if not 0 <= self.rank < self.world_size:
            raise UsageError(f"rank {self.rank} of {self.world_size}")
        if self.group < 1:
            raise UsageError(f"groups of {self.group} pictures")

    @property
    def steps_per_epoch(self) -> int:
        """Batches of one epoch."""
        return -(-self.pictures // self.batch_size)

    def __len__(self) -> int:
        """Batches left."""
        return max(self.epochs * self.steps_per_epoch - self.start_step, 0)

    def __iter__(self) -> Iterator[list[Place]]:
        first_epoch, first_batch = divmod(self.start_step, self.steps_per_epoch)
        order = self.order or ShuffledOrder(self.pictures, self.seed)
        for epoch in range(first_epoch, self.epochs):
            numbers = order.numbers(epoch)
            for batch in range(first_batch if epoch == first_epoch else 0, self.steps_per_epoch):
                positions = self._positions(batch)
                yield [(epoch, position, int(numbers[position])) for position in positions]

    def _positions(self, batch: int) -> range:
        """Positions of this rank in a batch of an epoch."""
        start = batch * self.batch_size
        count = min(self.batch_size, self.pictures - start)
        groups = -(-count // self.group)
        low = self.rank * groups // self.world_size * self.group
        high = (self.rank + 1) * groups // self.world_size * self.group
        return range(start + low, start + min(high, count))


@dataclass(frozen=True, slots=True)
class LoaderSettings:
    """How batches are made; none of this changes what is in them.

    Attributes:
        size_hw: size of the samples.
        workers: processes that make samples; 0 makes them in this process.
        prefetch: batches that each worker prepares ahead.
        pin_memory: put batches into page-locked memory, for a GPU.
        start: how workers are started; "" means :func:`start_method`.
        picture_format: of the samples.
    """

    size_hw: SizeHW
    workers: int = 0
    prefetch: int = 2
    pin_memory: bool = False
    start: str = ""
    picture_format: PictureFormat = RGB8


class BatchStream:
    """Iterator over the batches of a run; close it, or use it in a ``with`` block, to stop its workers.

    Args:
        make_sample: makes the sample of a place.
        sampler: which places, batch by batch.
        settings: see :class:`LoaderSettings`.
        collate_samples: makes a batch of samples; None stacks them.
        marks: where workers note their picture; that of the :class:`PictureStore` in use.
        picture_name: what to call a picture in errors, usually its path.

    Raises:
        UsageError: more workers than supported.
        DataError: too little shared memory for the batches of the workers; while iterating: a worker died, with
            the picture it was at.
        ImageError: while iterating: a picture cannot be read.
    """

    def __init__(
        self,
        make_sample: MakeSample,
        sampler: RunSampler,
        settings: LoaderSettings,
        *,
        collate_samples: Collate | None = None,
        marks: WorkerMarks | None = None,
        picture_name: Callable[[int], object] = str,
    ) -> None:
        _check_settings(sampler, settings)
        self._marks = marks or WorkerMarks()
        self._picture_name = picture_name
        self._loader = _torch_loader(
            _Samples(make_sample, self._marks),
            sampler,
            settings,
            collate_samples
            or partial(collate_single, size_hw=settings.size_hw, picture_format=settings.picture_format),
        )
        self._batches: Iterator[Any] | None = None
        self._processes: list[multiprocessing.process.BaseProcess] = []

    def __enter__(self) -> BatchStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        try:
            if self._batches is None:
                before = set(multiprocessing.active_children())
                with _deaf_to_sigterm():
                    self._batches = iter(self._loader)
                self._processes = [
                    process for process in multiprocessing.active_children() if process not in before
                ]
            batch = next(self._batches)
        except (RuntimeError, OSError, EOFError) as error:
            raise self._worker_error(error) from error
        if isinstance(batch, VedetteError):
            self.close()
            raise batch
        return batch  # type: ignore[no-any-return]

    def close(self) -> None:
        """Stop the workers; there are no batches afterwards."""
        batches, self._batches = self._batches, iter(())
        # The iterator of torch ends its workers when it is taken down; there is no public call for it.
        shutdown = getattr(batches, "_shutdown_workers", None)
        if shutdown is not None:
            with contextlib.suppress(RuntimeError):
                shutdown()
        for process in self._processes:
            if process.is_alive():  # stuck, and deaf to SIGTERM by _start_worker
                process.kill()
        self._processes = []

    def _worker_error(self, error: Exception) -> Exception:
        """A dead worker as an error that says which picture it held; other errors as they are."""
        text = str(error)
        # Torch names a worker that it misses, but a worker may also die while a batch is fetched from it: then the
        # connection breaks, a moment before the process is seen to be gone.
        if (
            not isinstance(error, (ConnectionError, EOFError, FileNotFoundError))
            and "worker (pid" not in text
        ):
            return error
        dead = self._dead_workers()
        process_ids = [process.pid for process in dead if process.pid is not None]
        process_ids += [int(word) for word in re.findall(r"pid\D*(\d+)", text)]
        if not process_ids:
            return error
        reasons = sorted({_exit_reason(process.exitcode) for process in dead})
        held = self._marks.pictures_of(process_ids) or self._marks.pictures_of([])
        names = ", ".join(str(self._picture_name(number)) for number in held) or "no picture yet"
        self.close()
        return DataError(
            f"a data worker died ({', '.join(reasons) or ' '.join(text.split())[:200]}) while working on {names}",
            where="data loading",
            fix="look at that picture; if memory ran out, use fewer --workers or a smaller --batch-size",
        )

    def _dead_workers(self) -> list[multiprocessing.process.BaseProcess]:
        """Workers that ended by a signal or an error, once the first of them is seen to have ended."""
        sentinels = [process.sentinel for process in self._processes]
        multiprocessing.connection.wait(sentinels, timeout=_DEATH_SECONDS)
        return [process for process in self._processes if process.exitcode not in (None, 0)]


def start_method(platform: str = sys.platform) -> str:
    """How worker processes start: "forkserver" on Linux, "spawn" elsewhere.

    Forking this process is unsafe once torch has started threads. A fork server imports torch once for all
    workers, where spawning imports it in each; macOS and Windows have no reliable alternative to spawning.
    """
    return "forkserver" if platform.startswith("linux") else "spawn"


_Fetched = tuple[list[Place], list["Sample | VedetteError"]]


class _Samples(Dataset[Any]):
    """What torch asks for items: places in, samples (or the error of one) out."""

    def __init__(self, make_sample: MakeSample, marks: WorkerMarks) -> None:
        self._make_sample = make_sample
        self._marks = marks

    def __getitems__(self, places: list[Place]) -> _Fetched:
        """All items of a batch; a name that torch looks for."""
        return places, [self._item(place) for place in places]

    def _item(self, place: Place) -> Sample | VedetteError:
        self._marks.mark(place[2])
        try:
            return self._make_sample(*place)
        except VedetteError as error:
            # As a value: torch would turn a raised error into a text that holds a traceback.
            return error


def _collate_or_error(collate_samples: Collate, fetched: _Fetched) -> Batch | VedetteError:
    places, items = fetched
    for item in items:
        if isinstance(item, VedetteError):
            return item
    return collate_samples(places, [item for item in items if isinstance(item, Sample)])


def _torch_loader(
    samples: _Samples, sampler: RunSampler, settings: LoaderSettings, collate_samples: Collate
) -> DataLoader[Any]:
    options: dict[str, Any] = {}
    if settings.workers:
        context = multiprocessing.get_context(settings.start or start_method())
        context.set_forkserver_preload(["vedette.data.loader"])
        options = {
            "multiprocessing_context": context,
            "worker_init_fn": _start_worker,
            "prefetch_factor": settings.prefetch,
        }
    return DataLoader(
        samples,
        batch_sampler=sampler,
        num_workers=settings.workers,
        collate_fn=partial(_collate_or_error, collate_samples),
        pin_memory=settings.pin_memory,
        **options,
    )


@contextlib.contextmanager
def _deaf_to_sigterm() -> Iterator[None]:
    """Start processes that SIGTERM does not end.

    Launchers and batch systems send it to all processes of a job. The main process then still needs its workers, to
    finish the step in hand, and these need the fork server. The signal is held back here, not lost.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    multiprocessing.resource_tracker.ensure_running()  # where it is started later, it ends the blocking
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(_: int) -> None:
    """Set up a worker process: one thread, and signals left to the main process, which stops workers itself."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    multiprocessing.util.Finalize(None, _leave_worker, exitpriority=-100)


def _leave_with_parent() -> None:
    """End this worker when the main process is gone, however it went.

    Torch watches the process that forked the worker; with a fork server that is not the main process, and the
    server stays as long as it has workers.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _leave_worker() -> None:
    """End a worker that is done before the interpreter takes itself down.

    Otherwise the thread that hands over batches may be stopped inside torch, which aborts the process with a
    message on the console.
    """
    if sys.exc_info()[0] is None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _check_settings(sampler: RunSampler, settings: LoaderSettings) -> None:
    if not 0 <= settings.workers <= MAX_WORKERS:
        raise UsageError(f"{settings.workers} workers, at most {MAX_WORKERS} are supported")
    height, width = settings.size_hw
    part = -(-sampler.batch_size // (sampler.world_size * sampler.group)) * sampler.group
    frame = height * width * settings.picture_format.bytes_per_pixel
    needed = part * frame * settings.workers * (settings.prefetch + 1)
    free = available_shared_memory()
    if free is not None and needed > free:
        raise DataError(
            f"{settings.workers} workers need {needed / 2**20:.0f} MiB of shared memory, "
            f"{free / 2**20:.0f} MiB are free",
            where="/dev/shm",
            fix="use fewer --workers, or give the container more (docker run --shm-size=2g)",
        )


def _exit_reason(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(-code).name}"
        return f"signal {-code}"
    return f"exit code {code}"
