"""Several processes, one run: who this process is, and what the ranks tell each other.

The processes are started by torchrun, or by anything else that sets its environment variables; vedette starts none.
A run on one device is the run of one rank: the same calls, which then do nothing.

What is final (``docs/decisions``: "Gradients are added up in one message"): every rank holds the same weights, average,
statistics and counters after each optimizer step, so rank 0 alone writes all files, and a run can go on with any
number of ranks.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from vedette.core.device import select_device
from vedette.errors import RankError, UsageError, VedetteError
from vedette.train.distributed.heartbeat import Store, Watch

T = TypeVar("T")

_POLL_SECONDS = 0.1
_RUN_KEY = "run"


@dataclass(frozen=True)
class Ranks:
    """This process among those of its run.

    Attributes:
        rank: 0..world_size - 1; rank 0 writes the files and talks to people.
        world_size: processes of the run.
        local_rank: number of this process on its machine.
        local_world_size: processes on this machine.
        address: machine of the store that the ranks meet at.
        port: of that store.
        restart: how often the launcher has started the processes again.
        launcher_keeps_store: the store is the launcher's; otherwise rank 0 keeps it.
        run_id: of the launcher.
        store: shared by the ranks, once they are connected; ``lasting_store`` outlives a restart of them.
        watch: over the other ranks.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    address: str = ""
    port: int = 0
    restart: int = 0
    launcher_keeps_store: bool = False
    run_id: str = ""
    store: Store | None = field(default=None, repr=False, compare=False)
    lasting_store: Store | None = field(default=None, repr=False, compare=False)
    watch: Watch | None = field(default=None, repr=False, compare=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Ranks:
        """What torchrun says; a single rank if it says nothing.

        Raises:
            UsageError: a variable is missing or makes no sense.
        """
        if "RANK" not in environment and "WORLD_SIZE" not in environment:
            return cls()
        rank, world_size = _number(environment, "RANK"), _number(environment, "WORLD_SIZE")
        if not 0 <= rank < world_size:
            raise UsageError(f"RANK {rank} of WORLD_SIZE {world_size}", where="environment")
        if world_size == 1:
            return cls()
        address = environment.get("MASTER_ADDR", "")
        if not address:
            raise UsageError("MASTER_ADDR is not set", where="environment", fix="start with torchrun")
        return cls(
            rank=rank,
            world_size=world_size,
            local_rank=_number(environment, "LOCAL_RANK"),
            local_world_size=_number(environment, "LOCAL_WORLD_SIZE", world_size),
            address=address,
            port=_number(environment, "MASTER_PORT"),
            restart=_number(environment, "TORCHELASTIC_RESTART_COUNT", 0),
            launcher_keeps_store=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
            run_id=environment.get("TORCHELASTIC_RUN_ID", ""),
        )

    @property
    def first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    @property
    def part(self) -> tuple[int, int]:
        """(rank, world size): which part of shared work is this rank's."""
        return self.rank, self.world_size

    def device(self, text: str) -> torch.device:
        """The device of this rank.

        Args:
            text: as for :func:`vedette.core.device.select_device`; with several ranks also a list of GPUs,
                ``0,2``, of which each rank of the machine takes one. Empty: the GPU with this rank's local
                number, or the CPU on a machine without GPU.

        Raises:
            UsageError: there is no such device, or it cannot be shared by ranks.
        """
        if self.world_size == 1:
            return select_device(text)
        names = [name for name in text.split(",") if name.strip()]
        if len(names) > 1 and self.local_rank >= len(names):
            raise UsageError(
                f"{len(names)} devices for {self.local_world_size} processes",
                where=f"device '{text}'",
                fix="name as many as --nproc-per-node, or none",
            )
        fitting = f"cuda:{self.local_rank}" if torch.cuda.is_available() else "cpu"
        device = select_device(names[self.local_rank] if len(names) > 1 else text or fitting)
        if device.type not in ("cpu", "cuda"):
            raise UsageError("ranks can only share CUDA devices and CPUs", where=f"device '{device}'")
        if device.type == "cuda" and self.local_world_size > 1 and len(names) == 1:
            raise UsageError(
                f"all {self.local_world_size} processes would use one GPU",
                where=f"device '{text}'",
                fix="leave --device out, or name one GPU per process: --device 0,1",
            )
        return device

    def add_up(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace tensors of one dtype and device by their sums over all ranks, the same bits on every rank."""
        if self.world_size == 1 or not tensors:
            return
        message = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        self._collective(lambda: dist.all_reduce(message))
        parts = torch.split(message, [tensor.numel() for tensor in tensors])
        with torch.no_grad():
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def total(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum of a tensor over all ranks. No gradient flows through it."""
        if self.world_size == 1:
            return tensor
        result = tensor.detach().clone()
        self._collective(lambda: dist.all_reduce(result))
        return result

    def exchange(self, values: Sequence[float]) -> list[list[float]]:
        """The numbers of every rank, by rank; each rank gives as many."""
        mine = [float(value) for value in values]
        if self.world_size == 1:
            return [mine]
        rows = torch.empty(self.world_size, len(mine), dtype=torch.float64)
        row = torch.tensor(mine, dtype=torch.float64)
        self._collective(lambda: dist.all_gather(list(rows.unbind()), row))
        return [[float(value) for value in row] for row in rows.tolist()]

    def from_first(self, make: Callable[[], T]) -> T:
        """What ``make`` returns on rank 0, on all ranks. An error of it is raised on all ranks, too."""
        if self.world_size == 1:
            return make()
        answer: list[Any] = [None, None]
        if self.first:
            try:
                answer[1] = make()
            except Exception as error:
                self._broadcast([_transferable(mark_joint(error)), None])
                raise
        self._broadcast(answer)
        if answer[0] is not None:
            raise mark_joint(answer[0])
        return answer[1]  # type: ignore[no-any-return]

    def gather(self, value: T) -> list[T]:
        """The values of all ranks by rank, on rank 0; nothing on the others."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        self._collective(lambda: dist.gather_object(value, values if self.first else None))
        return values if self.first else []

    def copy_from_first(self, tensors: Sequence[torch.Tensor]) -> None:
        """Overwrite tensors by those of rank 0."""
        for tensor in tensors if self.world_size > 1 else ():
            message = tensor.detach().contiguous()
            self._collective(lambda message=message: dist.broadcast(message, src=0))  # type: ignore[misc]
            with torch.no_grad():
                tensor.copy_(message)

    def require_same(self, what: str, value: str, fix: str) -> None:
        """Make sure that all ranks have the same; raises UsageError on all of them, naming those that differ."""
        values = self.gather(value)
        different = self.from_first(lambda: [str(rank) for rank, it in enumerate(values) if it != value])
        if different:
            raise mark_joint(
                UsageError(f"{what} of rank 0 and of rank {', '.join(different)} are not the same", fix=fix)
            )

    @contextlib.contextmanager
    def one_per_machine_first(self, key: str) -> Iterator[None]:
        """Let one rank of every machine through the block before the others, such as to fill a cache.

        The others wait as long as it takes, without a collective operation that could run out of time.
        """
        if self.store is None:
            yield
            return
        done = f"machine/{self.rank - self.local_rank}/{key}"
        while self.local_rank and not self._collective(lambda: self.store.check([done])):  # type: ignore[union-attr]
            time.sleep(_POLL_SECONDS)
        try:
            yield
        finally:
            if not self.local_rank:
                self.store.set(done, "done")

    def remember_run(self, folder: str) -> None:
        """Note the folder of this run where the launcher's next start of these processes finds it."""
        if self.lasting_store is not None and self.launcher_keeps_store:
            self.lasting_store.set(_RUN_KEY, folder)

    def remembered_run(self) -> str:
        """The folder that an earlier start of these processes by the same launcher wrote to; empty if none did."""
        if self.lasting_store is None or not self.restart or not self.lasting_store.check([_RUN_KEY]):
            return ""
        return self.lasting_store.get(_RUN_KEY).decode()

    def _broadcast(self, values: list[Any]) -> None:
        self._collective(lambda: dist.broadcast_object_list(values, src=0, device=torch.device("cpu")))

    def _collective(self, operation: Callable[[], T]) -> T:
        """Run an operation that needs the other ranks; if it fails, find out which of them is the reason."""
        try:
            return operation()
        except RuntimeError as error:
            if self.watch is None:
                raise
            raise self.watch.explain(error) from error


ALONE = Ranks()
"""A run of one process."""


def mark_joint(error: Exception) -> Exception:
    """Note that all ranks raise this error."""
    if isinstance(error, VedetteError):
        error.joint = True
    return error


def _transferable(error: Exception) -> Exception:
    """The error as other ranks can raise it: our own as they are, others by their text."""
    return error if isinstance(error, VedetteError) else RankError(f"rank 0: {type(error).__name__}: {error}")


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environment.get(name, "" if default is None else str(default))
    if not text.isascii() or not text.isdigit():
        raise UsageError(
            f"{name} is {text!r}, not a number" if text else f"{name} is not set",
            where="environment",
            fix="start the processes with torchrun, which sets it",
        )
    return int(text)
