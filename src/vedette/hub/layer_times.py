"""What each row of a network costs, measured while it runs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any, TextIO

import torch
from torch import nn


@contextlib.contextmanager
def layer_times(rows: nn.ModuleList, output: TextIO) -> Iterator[None]:
    """Print a line for each row that runs in this block: its milliseconds and its kind, and at the end their sum."""
    started: dict[int, float] = {}
    total = 0.0

    def before(row: nn.Module, _inputs: Any) -> None:
        _wait()
        started[id(row)] = time.perf_counter()

    def after(row: nn.Module, _inputs: Any, _output: Any) -> None:
        nonlocal total
        _wait()
        spent = (time.perf_counter() - started[id(row)]) * 1000
        total += spent
        output.write(f"{spent:10.2f} ms  {type(row).__name__}\n")

    handles = [row.register_forward_pre_hook(before) for row in rows]
    handles += [row.register_forward_hook(after) for row in rows]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        output.write(f"{total:10.2f} ms  in all\n")


def _wait() -> None:
    """Let a GPU finish, so that its time is counted where it is spent."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    elif torch.backends.mps.is_available():
        torch.mps.synchronize()
