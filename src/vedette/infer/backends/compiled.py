"""A detector through ``torch.compile``: torch writes, compiles and runs code for it, on whatever device it is.

It fuses what lies between convolutions, which themselves stay those of the eager network. Code is made for each size
and number of frames when the first of them come, which takes up to a minute; sizes beyond the eighth run eagerly.
(Torch 2.13 cannot make code for all sizes at once where the channels of a map lie together.) Torch keeps code in a
folder of its own (``TORCHINDUCTOR_CACHE_DIR``), where the next process finds it.
"""

from __future__ import annotations

import sysconfig
import threading
import warnings
from pathlib import Path
from typing import Any

import torch

from vedette.errors import ModelError, UsageError
from vedette.model.detector import Detector

_MOST_SIZES = 8
"""Torch's own limit for one network, behind which it goes on eagerly, too."""

_FIX = "install a C++ compiler such as g++ (for a GPU: triton), or leave --compile out"


class CompiledNetwork:
    """A detector that is compiled when it is first called; afterwards several threads may call at once.

    Args:
        detector: to compile, in eval mode, on its device.
        device: where it is.

    Raises:
        UsageError: there is no compiler.
    """

    def __init__(self, detector: Detector, device: torch.device) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch says to itself of its own modules
            if device.type == "cpu":
                _check_compiler()
            self._compiled: Any = torch.compile(detector, dynamic=False)
        self._eager = detector
        self._sizes: set[torch.Size] = set()
        self._compiling = threading.Lock()

    def __call__(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Raw levels [B, A, h, w, 5+C] of images, floating [B, c, H, W] in 0..1; as of the detector.

        Raises:
            ModelError: torch cannot compile the network.
        """
        if images.shape in self._sizes:
            return self._levels(images)
        if len(self._sizes) >= _MOST_SIZES:
            return self._eager(images)  # type: ignore[no-any-return]
        with self._compiling:
            levels = self._first(images)
            self._sizes.add(images.shape)
        return levels

    def _first(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Levels of images of a size that is met for the first time. Raises ModelError."""
        from torch._dynamo.exc import TorchDynamoException

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return self._levels(images)
            except TorchDynamoException as error:
                said = " ".join(str(error).split())[:300]
                raise ModelError(
                    f"torch cannot compile the network ({said})", where="--compile", fix=_FIX
                ) from None

    def _levels(self, images: torch.Tensor) -> list[torch.Tensor]:
        levels: list[torch.Tensor] = self._compiled(images)
        return levels


def _check_compiler() -> None:
    """Raises UsageError: no C++ compiler, or no headers of Python; they would be missed only at the first picture."""
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except RuntimeError:  # InvalidCxxCompiler is one; on Windows it is the plain kind
        raise UsageError("there is no C++ compiler here", where="--compile", fix=_FIX) from None
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        raise UsageError(
            "the headers of Python are not here, which compiled code needs",
            where="--compile",
            fix="install them (python3-dev on Debian), or leave --compile out",
        )
