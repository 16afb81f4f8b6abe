"""Binary cross-entropy of logits, plain and focal (specification loss.md sections 2 and 5)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_FOCAL_ALPHA = 0.25


def binary_cross_entropy(
    logits: Tensor, targets: Tensor, *, positive_weight: float = 1.0, focal_gamma: float = 0.0
) -> Tensor:
    """Loss of every element, same shape as ``logits``.

    Args:
        logits: float32.
        targets: 0..1, same shape.
        positive_weight: factor of the positive part.
        focal_gamma: above 0, elements that are answered well count less: focal loss with alpha 0.25.
    """
    if positive_weight == 1:
        loss = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    else:
        # -w·t·ln σ(x) - (1 - t)·ln(1 - σ(x)), with both logarithms taken stably from the logit.
        positive, negative = functional.softplus(-logits), functional.softplus(logits)
        loss = positive_weight * targets * positive + (1 - targets) * negative
    if focal_gamma <= 0:
        return loss
    probabilities = torch.sigmoid(logits)
    right = targets * probabilities + (1 - targets) * (1 - probabilities)
    alpha = _FOCAL_ALPHA * targets + (1 - _FOCAL_ALPHA) * (1 - targets)
    # Below 1e-12 the power's slope at 0 would be infinite for gamma < 1.
    return loss * alpha * (1 - right).clamp(min=1e-12) ** focal_gamma


def smoothed_targets(label_smoothing: float) -> tuple[float, float]:
    """Target of the true class and of the others: 1 - s/2 and s/2."""
    return 1 - label_smoothing / 2, label_smoothing / 2
