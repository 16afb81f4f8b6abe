"""Files of faster runtimes that were made for a checkpoint on this machine, found again by the checkpoint.

``vedette detect --runtime fastest`` exports, verifies and times them once (:mod:`vedette.bench.prepare`) and leaves
what is fastest in the cache folder; later runs use it. Here it is only looked up, without torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

from vedette.checkpoint.atomic import write_atomic
from vedette.core.types import SizeHW
from vedette.data.cache_folder import cache_folder

_NAME = "runtime.json"
_SCHEMA_VERSION = 1
_MAX_BYTES = 100_000


@dataclass(frozen=True, slots=True)
class PreparedRuntime:
    """What is fastest for a checkpoint here.

    Attributes:
        file: name of the exported file or folder beside the note; "" for PyTorch itself.
        format: its format, or "pytorch".
        precision: number format it computes in.
        milliseconds: median from bytes to boxes.
        pytorch_milliseconds: that of PyTorch in float32 in the same run.
        box_px: greatest difference of a box from PyTorch's, in pixels, when it was verified.
        score: greatest difference of a score.
    """

    file: str
    format: str
    precision: str
    milliseconds: float
    pytorch_milliseconds: float
    box_px: float
    score: float

    def sentence(self) -> str:
        """What is used and why, on one line."""
        if not self.file:
            return "runs on PyTorch in float32, the fastest here"
        ratio = self.pytorch_milliseconds / self.milliseconds
        return (
            f"runs on {self.format} in {self.precision}, {ratio:.1f} x as fast as PyTorch when it was timed here; "
            f"boxes then differed by at most {self.box_px:.2f} px and scores by {self.score:.4f} "
            "(--runtime pytorch: without it)"
        )


def runtime_folder(weights: Path, image_size: SizeHW | None, device: str = "") -> Path | None:
    """Where the files for a checkpoint and frame size are kept, whether they exist or not; None without a cache.

    ``device`` is the word of the user: what was prepared for "cpu" beside a GPU is not taken where no device is named.

    Another checkpoint under the same name, another version of vedette and another machine have folders of their own.
    """
    cache = cache_folder()
    if cache is None:
        return None
    try:
        status = weights.stat()
    except OSError:
        return None
    text = json.dumps(
        [
            _SCHEMA_VERSION,
            str(weights.resolve()),
            status.st_size,
            status.st_mtime_ns,
            image_size,
            device.strip().lower(),
            platform.machine(),
            platform.node(),
            os.cpu_count(),
        ]
    )
    return cache / "runtimes" / hashlib.sha256(text.encode("utf-8")).hexdigest()[:24]


def prepared_runtime(
    weights: Path, image_size: SizeHW | None, device: str = ""
) -> tuple[PreparedRuntime, Path] | None:
    """What was found fastest for a checkpoint, and what to open; None if nothing was prepared or it is not whole."""
    folder = runtime_folder(weights, image_size, device)
    if folder is None:
        return None
    note = folder / _NAME
    try:
        if note.stat().st_size > _MAX_BYTES:
            return None
        runtime = PreparedRuntime(**json.loads(note.read_bytes()))
        numbers = (runtime.milliseconds, runtime.pytorch_milliseconds, runtime.box_px, runtime.score)
        words = (runtime.file, runtime.format, runtime.precision)
        sound = all(isinstance(number, float) for number in numbers) and all(
            isinstance(w, str) for w in words
        )
    except (OSError, ValueError, TypeError):
        return None
    if not sound or runtime.milliseconds <= 0 or Path(runtime.file).name != runtime.file:
        return None
    file = folder / runtime.file if runtime.file else weights
    return (runtime, file) if file.exists() else None


def remember(runtime: PreparedRuntime, folder: Path) -> None:
    """Leave the note that :func:`prepared_runtime` finds. Raises WriteError."""
    write_atomic(folder / _NAME, json.dumps(asdict(runtime), indent=1).encode("ascii"))
