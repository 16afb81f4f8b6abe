"""How the ranks of a run find each other, and how they part."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from vedette.errors import DivergedError, InterruptedRunError, RankError, UsageError
from vedette.train.distributed.heartbeat import Watch, record_key
from vedette.train.distributed.ranks import Ranks, mark_joint

_JOIN_SECONDS = 300.0
_COLLECTIVE_SECONDS = 3600.0
"""Dead ranks are noticed by their heartbeat; this ends a run whose ranks live but wait for different things."""
_FAREWELL_SECONDS = 5.0
_PRINTING_SECONDS = 1.0


@contextlib.contextmanager
def joined(ranks: Ranks, device: torch.device, timeout: float) -> Iterator[Ranks]:
    """Connect the ranks of a run for the time of the block.

    Args:
        ranks: who this process is.
        device: of this rank.
        timeout: seconds after which a rank that shows no sign of life is taken for dead. This process is ended
            then, with a message that names it.

    Yields:
        The ranks, now connected.

    Raises:
        RankError: the ranks did not find each other.
    """
    if ranks.world_size == 1:
        yield ranks
        return
    if not dist.is_available():
        raise UsageError("this build of torch cannot train on several ranks", where="torch.distributed")
    ranks = _connect(ranks, timeout)
    assert ranks.watch is not None
    try:
        _open_group(ranks, device)
        yield ranks
    except BaseException as error:
        _leave_after(error, ranks)
        raise
    dist.destroy_process_group()
    ranks.watch.leave()
    if ranks.first:  # the store may be ours: the others read in it that all is well
        ranks.watch.wait_for_end(range(1, ranks.world_size), timeout)


def _connect(ranks: Ranks, timeout: float) -> Ranks:
    """Find the other ranks and begin to watch over them."""
    # A connection serves one request at a time: the watch has its own.
    own, watched = (_open_store(ranks, serve=serve) for serve in (True, False))
    run, start = f"vedette/{ranks.run_id}", f"vedette/{ranks.run_id}/{ranks.restart}"
    ranks = replace(ranks, store=_under(start, own), lasting_store=_under(run, own))
    watch = Watch(
        _under(start, watched),
        ranks.rank,
        ranks.world_size,
        timeout,
        keeper="the launcher" if ranks.launcher_keeps_store else "rank 0, which keeps the ranks together,",
    )
    watch.announce()
    _wait_for_all(ranks)
    watch.start()
    return replace(ranks, watch=watch)


def _open_group(ranks: Ranks, device: torch.device) -> None:
    """Set up torch's collective operations: NCCL between GPUs, Gloo between CPUs and for small decisions."""
    if device.type == "cuda":
        torch.cuda.set_device(device)  # NCCL works on the current device
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
        store=_under("group", ranks.store),
        rank=ranks.rank,
        world_size=ranks.world_size,
        timeout=timedelta(seconds=_COLLECTIVE_SECONDS),
    )


def _under(prefix: str, store: Any) -> Any:
    """The part of a store whose keys begin so."""
    return dist.PrefixStore(prefix, store)  # type: ignore[attr-defined]


def _open_store(ranks: Ranks, *, serve: bool) -> Any:
    try:
        return dist.TCPStore(  # type: ignore[attr-defined]
            ranks.address,
            ranks.port,
            is_master=serve and ranks.first and not ranks.launcher_keeps_store,
            timeout=timedelta(seconds=_JOIN_SECONDS),
            wait_for_workers=False,
            use_libuv=sys.platform != "win32",  # the Windows builds of torch come without it
        )
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:200]
        raise RankError(
            f"rank {ranks.rank} cannot reach the others ({detail})", where=f"{ranks.address}:{ranks.port}"
        ) from error


def _wait_for_all(ranks: Ranks) -> None:
    store = ranks.store
    assert store is not None
    keys = {rank: record_key(rank) for rank in range(ranks.world_size)}
    try:
        store.wait(list(keys.values()), timedelta(seconds=_JOIN_SECONDS))
    except RuntimeError as error:
        missing = [str(rank) for rank, key in keys.items() if not store.check([key])]
        raise RankError(
            f"rank {', '.join(missing)} did not come within {_JOIN_SECONDS:.0f} s",
            where=f"{ranks.address}:{ranks.port}",
            fix="see that all machines are given the same address and port",
        ) from error


def _leave_after(error: BaseException, ranks: Ranks) -> None:
    """Tell the other ranks why this one leaves.

    When all leave for the same reason, rank 0 leaves first: as soon as one process has ended, the launcher ends
    the others, and the words of rank 0 are those that people need.
    """
    watch = ranks.watch
    assert watch is not None
    found_by_itself = isinstance(error, RankError)
    watch.leave("" if found_by_itself else str(error) or type(error).__name__)
    if isinstance(error, (InterruptedRunError, DivergedError)):
        mark_joint(error)
    if not ranks.first and getattr(error, "joint", False):
        watch.wait_for_end([0], _FAREWELL_SECONDS)
        time.sleep(_PRINTING_SECONDS)
    elif ranks.first and not ranks.launcher_keeps_store:
        watch.wait_for_end(range(1, ranks.world_size), _FAREWELL_SECONDS)
