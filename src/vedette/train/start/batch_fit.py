"""How many pictures a batch may have on a GPU: measured on a few small batches, then a straight line.

The memory of a step is a constant (gradients, the optimizer's memory) and a part for every picture.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from vedette.config.train import AUTOMATIC, TrainConfig
from vedette.core.letterbox import round_up_to_stride
from vedette.core.types import SizeHW
from vedette.errors import UsageError
from vedette.loss.detection_loss import DetectionLoss
from vedette.model.detector import Detector
from vedette.train.distributed.ranks import ALONE, Ranks
from vedette.train.events import Emitter
from vedette.train.folder.run_files import RunFiles

DEFAULT_BATCH_SIZE = 16
PROBED_SIZES = (1, 2, 4, 8, 16)
MEMORY_FRACTION = 0.85
"""Part of the free memory that a batch may fill: pictures waiting for their turn need some, and so do others."""
LARGEST_BATCH_SIZE = 1024
_MULTIPLE = 8
_TARGETS_PER_PICTURE = 32


def fitted_batch_size(
    batch_sizes: Sequence[int], memory_bytes: Sequence[int], available_bytes: int, *, most: int
) -> int:
    """The largest batch whose memory, by a line through the measurements, stays within the fraction.

    Args:
        batch_sizes: that were measured, at least two different ones.
        memory_bytes: what a step with each of them took.
        available_bytes: what there is.
        most: upper limit, such as the pictures of the training split.

    Returns:
        A multiple of 8, or less than 8 where no more fits; at least 1.
    """
    slope, constant = np.polyfit(np.asarray(batch_sizes, float), np.asarray(memory_bytes, float), 1)
    limit = min(most, LARGEST_BATCH_SIZE)
    budget = MEMORY_FRACTION * available_bytes - constant
    fitting = limit if slope <= 0 else min(limit, math.floor(budget / slope))
    return max(1, fitting - fitting % _MULTIPLE if fitting >= _MULTIPLE else fitting)


def choose_batch_size(measure: Callable[[int], int], available_bytes: int, *, most: int) -> int:
    """Measure batches of growing size until one does not fit, then :func:`fitted_batch_size`.

    Args:
        measure: batch size -> bytes that a step takes; raises ``torch.OutOfMemoryError`` if it does not fit.
        available_bytes: what there is.
        most: upper limit.

    Raises:
        UsageError: not even one picture fits.
    """
    memory: list[int] = []
    for batch_size in PROBED_SIZES:
        try:
            memory.append(measure(batch_size))
        except torch.OutOfMemoryError:
            break
    if not memory:
        raise UsageError(
            "not even one picture fits into the memory of the GPU",
            where="--batch-size -1",
            fix="use smaller frames (--img-size) or a smaller model",
        )
    if len(memory) == 1:
        return 1
    chosen = fitted_batch_size(PROBED_SIZES[: len(memory)], memory, available_bytes, most=most)
    return chosen if len(memory) == len(PROBED_SIZES) else min(chosen, PROBED_SIZES[len(memory) - 1])


def settle_batch_size(  # noqa: PLR0913  # the parts of a run, as they are when it is needed
    files: RunFiles,
    detector: Detector,
    loss: DetectionLoss,
    dtype: torch.dtype,
    *,
    pictures: int,
    emitter: Emitter,
    ranks: Ranks = ALONE,
) -> RunFiles:
    """The settings of a run with a batch size in the place of -1, which its ``config.yaml`` then holds too.

    On a GPU of CUDA it is measured, elsewhere it is 16: other devices do not tell how much memory there is.
    With several ranks it is what fits into the smallest of their GPUs, times their number.

    Args:
        files: settings.
        detector: on its device, with its frozen layers.
        loss: of the run.
        dtype: arithmetic of the network.
        pictures: of the training split; a batch has no more.
        emitter: gets a note.
        ranks: all of them measure together.

    Raises:
        UsageError: not even one picture fits.
        WriteError: the settings cannot be written.
    """
    if files.config.batch_size != AUTOMATIC:
        return files
    if next(detector.parameters()).device.type == "cuda":
        size_hw = largest_frame(files.config, max(detector.strides))
        most = -(-pictures // ranks.world_size)
        fitting = cuda_batch_size(detector, loss, size_hw, dtype, most=most)
        batch_size = round(min(size for (size,) in ranks.exchange([fitting]))) * ranks.world_size
        emitter.note(f"batch size: {batch_size}, fitted to the memory of the GPU")
    else:
        batch_size = DEFAULT_BATCH_SIZE
        emitter.note(f"batch size: {batch_size}; only on a GPU of CUDA is it fitted to the memory")
    settled = replace(files, config=files.config.model_copy(update={"batch_size": batch_size}))
    settled.write_config(settled.config)
    return settled


def cuda_batch_size(
    detector: Detector, loss: DetectionLoss, size_hw: SizeHW, dtype: torch.dtype, *, most: int
) -> int:
    """The batch size for a detector that lies on a CUDA device; nothing of it changes.

    Args:
        detector: with its frozen layers.
        loss: of the run.
        size_hw: of the largest frame.
        dtype: arithmetic of the network.
        most: upper limit.

    Raises:
        UsageError: not even one picture fits.
    """
    device = next(detector.parameters()).device
    torch.cuda.empty_cache()
    available = torch.cuda.mem_get_info(device)[0]

    def measure(batch_size: int) -> int:
        try:
            return _step_memory(detector, loss, batch_size, size_hw, dtype)
        finally:
            torch.cuda.empty_cache()

    return choose_batch_size(measure, available, most=most)


def largest_frame(config: TrainConfig, stride: int) -> SizeHW:
    """Size of the largest frames of a run: those of ``--multi-scale`` grow to one and a half times the size."""
    factor = 1.5 if config.multi_scale else 1.0
    height, width = (round_up_to_stride(math.ceil(factor * side), stride) for side in config.image_size)
    return height, width


def _step_memory(
    detector: Detector, loss: DetectionLoss, batch_size: int, size_hw: SizeHW, dtype: torch.dtype
) -> int:
    """Bytes that a step takes besides the detector.

    A copy of it (in a run that is the average), gradients, the optimizer's memory, and what the layers keep for
    the way back.
    """
    device = next(detector.parameters()).device
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    probe = copy.deepcopy(detector).train()
    learning = [parameter for parameter in probe.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learning, lr=0.0)
    images = torch.zeros((batch_size, probe.architecture.channels, *size_hw), device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
        levels = probe(images)
    total, _ = loss(levels, _targets(batch_size, device))
    total.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _targets(batch_size: int, device: torch.device) -> torch.Tensor:
    """Boxes of middling size, [M, 6], as many as a mosaic of a crowded data set has."""
    targets = torch.full((batch_size * _TARGETS_PER_PICTURE, 6), 0.5)
    targets[:, 0] = torch.arange(batch_size).repeat_interleave(_TARGETS_PER_PICTURE)
    targets[:, 1] = 0
    targets[:, 4:] = 0.1
    return targets.to(device)
