"""Device, arithmetic and thread count from the words of a command line.

Torch is imported where it is asked, not with the module: other runtimes count threads too.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from vedette.errors import UsageError

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "float32", "bf16", "fp16"]


def select_device(text: str = "") -> torch.device:
    """The device a word means.

    Args:
        text: "" (the first GPU: CUDA, else Apple's; else the CPU), "cpu", "mps", "cuda", "cuda:1" or "1".

    Raises:
        UsageError: the word is not understood or there is no such device; says which devices exist.
    """
    import torch

    word = text.strip().lower()
    if not word:
        return torch.device(available_devices()[0])
    if "," in word:
        raise UsageError(
            "one process uses one device",
            where=f"device '{text}'",
            fix="start one process per GPU: torchrun --nproc-per-node N -m vedette train ...",
        )
    match = re.fullmatch(r"(?:cuda:?)?(\d{0,4})", word, flags=re.ASCII)
    name = f"cuda:{int(match[1] or 0)}" if match else word
    if name not in available_devices():
        raise UsageError("there is no such device", where=f"device '{text}'", fix=_known_devices())
    return torch.device(name)


def available_devices() -> tuple[str, ...]:
    """Names of the devices of this machine, best first: "cuda:0", ..., "mps", "cpu"."""
    import torch

    names = (
        [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    if torch.backends.mps.is_available():
        names.append("mps")
    return (*names, "cpu")


def _known_devices() -> str:
    return "available: " + ", ".join(available_devices())


def select_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The arithmetic of the network's layers (autocast); weights stay float32.

    Args:
        precision: "float32", "bf16", "fp16", or "auto": bf16 on a GPU or CPU with instructions for it, else fp16
            on a GPU and float32 elsewhere.
        device: where the network runs.

    Raises:
        UsageError: unknown word, or fp16 on a CPU, which has no fast float16 convolutions.
    """
    import torch

    if precision == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if _cuda_has_bf16(device) else torch.float16
        return torch.bfloat16 if device.type == "cpu" and cpu_has_bf16() else torch.float32
    if precision == "fp16" and device.type == "cpu":
        raise UsageError("fp16 needs a GPU", where="precision 'fp16'", fix="use bf16 or float32 on the CPU")
    known = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if precision not in known:
        raise UsageError(
            "unknown precision", where=f"precision '{precision}'", fix="use auto, float32, bf16 or fp16"
        )
    return known[precision]


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware; elsewhere it is emulated and slower than float32."""
    import torch

    # Torch 2.6 answers this under private names only; where they are missing, bf16 is not chosen by itself.
    questions = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, question, bool)()) for question in questions)


def _cuda_has_bf16(device: torch.device) -> bool:
    import torch

    return torch.cuda.get_device_capability(device) >= (8, 0)


def thread_count(requested: int = 0) -> int:
    """CPU threads to use: the number asked for, or for 0 the processors this process may run on.

    Raises:
        UsageError: a negative number.
    """
    if requested < 0:
        raise UsageError(f"{requested} threads", where="threads", fix="give 0 (all) or a positive number")
    if requested:
        return requested
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def lane_threads(threads: int, lanes: int) -> int:
    """CPU threads of each of several lanes, an equal share; with one lane what was asked for, 0: all."""
    return threads if lanes == 1 else max(1, thread_count(threads) // lanes)


@contextlib.contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Let torch use so many CPU threads in this block, then as many as before; 0 changes nothing.

    Other runtimes are told their threads when a file is opened; a process that runs one of them never imported torch.
    """
    if not count or "torch" not in sys.modules:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
