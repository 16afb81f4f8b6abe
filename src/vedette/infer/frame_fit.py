"""Frames of a size that a network takes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from vedette.core.letterbox import LetterboxPolicy, round_up_to_stride
from vedette.errors import ModelError
from vedette.infer.backends import Backend

_log = logging.getLogger(__name__)


def fit_to_backend(policy: LetterboxPolicy, backend: Backend) -> LetterboxPolicy:
    """The policy with its size and stride raised to what the network takes.

    Raises:
        ModelError: the backend takes one size only, and the policy has another or makes frames of many sizes.
    """
    fitted = fit_to_strides(policy, backend.strides)
    if backend.frame_hw is None:
        return fitted
    if fitted.size_hw != backend.frame_hw:
        raise ModelError(
            "takes frames of {}x{} only, not of {}x{}".format(*backend.frame_hw, *fitted.size_hw),
            where="image size",
            fix="leave the size out, or export for this size or with dynamic sizes",
        )
    if fitted.shape == "minimal":
        raise ModelError(
            "takes frames of {}x{} only, and --letterbox minimal makes many sizes".format(*backend.frame_hw),
            where="letterbox",
            fix="use --letterbox square, or export with dynamic sizes",
        )
    return fitted


def fit_to_strides(policy: LetterboxPolicy, strides: Sequence[int]) -> LetterboxPolicy:
    """The policy with its size and stride raised to what a network of these strides takes."""
    largest = max(strides)
    stride = round_up_to_stride(policy.stride, largest)
    size_hw = (round_up_to_stride(policy.size_hw[0], largest), round_up_to_stride(policy.size_hw[1], largest))
    if size_hw != policy.size_hw:
        _log.warning(
            "image size %dx%d is raised to %dx%d, multiples of the stride %d",
            *policy.size_hw,
            *size_hw,
            largest,
        )
    return replace(policy, size_hw=size_hw, stride=stride)
