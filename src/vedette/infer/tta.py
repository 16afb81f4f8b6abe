"""Test-time augmentation: the network looks at a batch in three sizes, once mirrored; suppression merges the answers.

Rules: inference.md, section 4. In v4.0 and before, all predictions of all views take part. From v6.0 on the first view
loses those of its coarsest level and the last view those of its finest (:func:`clips_tails`). That is reproduced where
published figures are (protocol ``yolov5``, torch.hub) and left out elsewhere, for one rule for all models and runtimes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vedette.core.resample import resize
from vedette.core.types import FloatArray, SizeHW
from vedette.errors import UsageError
from vedette.infer.backends import Backend, Frames, Outputs, ViewingBackend
from vedette.infer.outputs import DecodedOutputs

if TYPE_CHECKING:
    from torch import Tensor

VIEWS = ((1.0, False), (0.83, True), (0.67, False))
"""Scale, and whether mirrored left to right."""

PAD_VALUE = 0.447
"""What a smaller view is filled up with, to the right and below."""

_PAD_BYTE = 114  # 0.447 * 255 = 113.985

_CLIPPING_RELEASES = ("v6.0", "v7.0")


def clips_tails(release: str) -> bool:
    """Whether a release leaves out the coarsest predictions of the first view and the finest of the last."""
    return release in _CLIPPING_RELEASES


def augmented(
    predict: Callable[[Tensor], Tensor], images: Tensor, stride: int, *, clipped_levels: int = 0
) -> Tensor:
    """Predictions of all views, one behind the other, in the pixels of the images.

    Args:
        predict: images [B, c, H, W] to decoded predictions [B, N, 5+C]: centre and size in pixels first.
        images: floating [B, c, H, W] in 0..1; sides are multiples of the stride.
        stride: largest stride of the network.
        clipped_levels: cut off the tails as v6.0 and v7.0 do, for a network of so many levels, finest first; 0: do not.

    Returns:
        [B, sum of N, 5+C], in the order of :data:`VIEWS`.
    """
    import torch

    width = images.shape[3]
    answers = []
    for number, (scale, mirrored) in enumerate(VIEWS):
        view = images.flip(3) if mirrored else images
        answer = predict(_scaled(view, scale, stride))
        boxes = answer[..., :4] / scale
        if mirrored:
            boxes = torch.cat((width - boxes[..., :1], boxes[..., 1:]), -1)
        whole = torch.cat((boxes, answer[..., 4:]), -1)
        answers.append(whole[:, kept_rows(number, whole.shape[1], clipped_levels)])
    return torch.cat(answers, 1)


def kept_rows(view: int, rows: int, clipped_levels: int) -> slice:
    """Which rows of a view's predictions take part; ``clipped_levels`` as of :func:`augmented`."""
    if not clipped_levels:
        return slice(rows)
    shares = sum(
        4**level for level in range(clipped_levels)
    )  # the coarsest level has one, each finer one 4 x as many
    if view == 0:
        return slice(rows - rows // shares)
    if view == len(VIEWS) - 1:
        return slice(rows // shares * 4 ** (clipped_levels - 1), rows)
    return slice(rows)


def _scaled(images: Tensor, scale: float, stride: int) -> Tensor:
    """The images made smaller, filled up to multiples of the stride."""
    from torch.nn import functional

    if scale == 1.0:
        return images
    size_hw, frame_hw = _view_sizes((images.shape[2], images.shape[3]), scale, stride)
    smaller = functional.interpolate(images, size=size_hw, mode="bilinear", align_corners=False)
    return functional.pad(
        smaller, (0, frame_hw[1] - size_hw[1], 0, frame_hw[0] - size_hw[0]), value=PAD_VALUE
    )


def _view_sizes(frame_hw: SizeHW, scale: float, stride: int) -> tuple[SizeHW, SizeHW]:
    """Size of the picture in a view, and of the view."""
    height, width = frame_hw
    # The view is that of the scaled size, before it was cut off to whole pixels.
    padded = math.ceil(height * scale / stride) * stride, math.ceil(width * scale / stride) * stride
    return (int(height * scale), int(width * scale)), padded


def scaled_bytes(frames: NDArray[np.uint8], scale: float, stride: int) -> NDArray[np.uint8]:
    """Frames [B, H, W, c] made smaller and filled up as by :func:`augmented`, but rounded, for runtimes of bytes."""
    if scale == 1.0:
        return frames
    size_hw, frame_hw = _view_sizes((frames.shape[1], frames.shape[2]), scale, stride)
    view = np.full((len(frames), *frame_hw, frames.shape[3]), _PAD_BYTE, dtype=np.uint8)
    for frame, small in zip(frames, view, strict=True):
        # Scaled bytes would have two roundings in them, of the weights and of the sums.
        exact = resize(frame.astype(np.float32), size_hw)
        np.rint(exact, out=small[: size_hw[0], : size_hw[1]], casting="unsafe")
    return view


class AugmentedBackend:
    """A backend that looks at every frame three times.

    A PyTorch network gets the smaller views as the floating numbers that scaling gives, as published. Other runtimes
    take bytes, so there they are rounded, by at most half a grey level; what that changes is in docs/ensembles.md.

    Args:
        backend: looks once.
        clip_tails: as v6.0 and v7.0 do.

    Raises:
        UsageError: the backend takes frames of one size only.
    """

    combines = "three views of a picture"

    def __init__(self, backend: Backend, *, clip_tails: bool = False) -> None:
        if backend.frame_hw is not None:
            raise UsageError(
                "the network takes frames of {}x{} only, and the views have several sizes".format(
                    *backend.frame_hw
                ),
                where="--augment",
                fix="leave it out, or export with dynamic sizes",
            )
        self._backend = backend
        self._clipped_levels = len(backend.strides) if clip_tails else 0

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels a cell of each output level."""
        return self._backend.strides

    @property
    def classes(self) -> int:
        """Number of classes C."""
        return self._backend.classes

    @property
    def device(self) -> object:
        """Where the network runs."""
        return self._backend.device

    @property
    def precision(self) -> str:
        """Number format of the network."""
        return self._backend.precision

    @property
    def frame_hw(self) -> SizeHW | None:
        """None: any size."""
        return None

    @property
    def batch_size(self) -> int | None:
        """The only number of frames it takes; None: any."""
        return self._backend.batch_size

    def run(self, frames: Frames) -> Outputs:
        """Run the network on the views of frames, RGB uint8 [B, H, W, 3]. Raises ModelError."""
        if isinstance(self._backend, ViewingBackend):
            return self._backend.run_views(
                frames,
                lambda predict, images: augmented(
                    predict, images, max(self.strides), clipped_levels=self._clipped_levels
                ),
            )
        pictures = np.asarray(frames)
        answers = [self._view(pictures, number) for number in range(len(VIEWS))]
        return DecodedOutputs(np.concatenate(answers, axis=1))

    def warm_up(self, frame_hw: SizeHW, batch_size: int = 1) -> None:
        """Run once on every size of view."""
        for scale, _ in VIEWS:
            self._backend.warm_up(_view_sizes(frame_hw, scale, max(self.strides))[1], batch_size)

    def _view(self, frames: NDArray[np.uint8], number: int) -> FloatArray:
        """Predictions [B, n, 5+C] of one view, in the pixels of the frames."""
        scale, mirrored = VIEWS[number]
        view = np.ascontiguousarray(frames[:, :, ::-1]) if mirrored else frames
        decoded = self._backend.run(scaled_bytes(view, scale, max(self.strides))).decoded()
        kept = kept_rows(number, decoded.shape[1], self._clipped_levels)
        answer: FloatArray = decoded[:, kept].copy()
        answer[..., :4] /= np.float32(scale)
        if mirrored:
            answer[..., 0] = np.float32(frames.shape[2]) - answer[..., 0]
        return answer
