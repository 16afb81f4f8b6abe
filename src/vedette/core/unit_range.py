"""The samples of pictures as the network takes them: floating numbers from 0 to 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from vedette.core.picture_format import PictureFormat


def unit_range(images: torch.Tensor, picture_format: PictureFormat, device: torch.device) -> torch.Tensor:
    """Pictures on a device, in float32 and 0..1: (value - low) / (high - low), cut off on both sides.

    float32 holds every 16-bit value exactly; whoever computes in less casts the result, which rounds once.

    Args:
        images: uint8 or uint16, of any shape; may lie elsewhere.
        picture_format: what the samples mean.
        device: where the result is.
    """
    if images.dtype == torch.uint16 and device.type != "cpu":
        # Not every device knows unsigned 16-bit numbers; the same bits travel as signed ones.
        values = from_signed(images.view(torch.int16).to(device, non_blocking=True))
    else:
        values = images.to(device, non_blocking=True).float()
    low, high = picture_format.value_range
    if picture_format.takes_all_values:
        return values.div_(high)
    return values.sub_(low).div_(high - low).clamp_(0, 1)


def from_signed(samples: torch.Tensor) -> torch.Tensor:
    """The float32 values of unsigned 16-bit samples whose bits are in an int16 tensor."""
    return samples.to(torch.int32).bitwise_and_(0xFFFF).float()
