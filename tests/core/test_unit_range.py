"""Samples as numbers from 0 to 1."""

import numpy as np
import pytest
import torch

from vedette.core.picture_format import RGB8, PictureFormat
from vedette.core.unit_range import from_signed, unit_range

CPU = torch.device("cpu")


def test_8_bits_are_divided_by_255():
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(unit_range(values, RGB8, CPU), values.float() / 255)
    assert values.dtype == torch.uint8  # not changed


@pytest.mark.parametrize("value_range", [(0, 65535), (0, 4095), (1000, 40000)])
def test_16_bits_keep_every_value_of_the_range_apart(value_range):
    low, high = value_range
    values = torch.from_numpy(np.arange(65536, dtype=np.uint16))
    found = unit_range(values, PictureFormat(1, 16, value_range), CPU)
    assert found.dtype == torch.float32
    assert found[low] == 0
    assert found[high] == 1
    assert (found[low : high + 1].diff() > 0).all()
    assert found.min() == 0
    assert found.max() == 1


def test_bits_of_signed_numbers_are_the_same_samples():
    """The way to devices that know no unsigned 16-bit numbers; also of a view that is not contiguous."""
    values = torch.from_numpy(np.arange(65536, dtype=np.uint16).reshape(2, 128, 64, 4)).permute(0, 3, 1, 2)
    assert torch.equal(from_signed(values.view(torch.int16)), values.float())


def test_what_bf16_loses():
    """The reason for float32: of 4096 values of 12 bits bf16 keeps fewer than a quarter apart."""
    values = torch.from_numpy(np.arange(4096, dtype=np.uint16))
    found = unit_range(values, PictureFormat(1, 16, (0, 4095)), CPU)
    assert len(found.unique()) == 4096
    assert len(found.bfloat16().unique()) < 1024
