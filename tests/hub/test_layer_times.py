import io

import pytest
import torch
from torch import nn

from vedette.hub.layer_times import layer_times


def test_a_line_a_row_that_ran_and_their_sum():
    rows = nn.ModuleList([nn.Linear(2, 2), nn.ReLU(), nn.Identity()])
    output = io.StringIO()
    with layer_times(rows, output):
        rows[1](rows[0](torch.zeros(1, 2)))
    lines = [line.split(" ms  ") for line in output.getvalue().splitlines()]
    assert [name for _, name in lines] == ["Linear", "ReLU", "in all"]
    assert all(float(spent) >= 0 for spent, _ in lines)


def test_nothing_is_measured_afterwards_also_after_a_failure():
    rows = nn.ModuleList([nn.Linear(2, 2)])
    output = io.StringIO()
    with pytest.raises(RuntimeError), layer_times(rows, output):
        rows[0](torch.zeros(1, 3))
    length = len(output.getvalue())
    rows[0](torch.zeros(1, 2))
    assert len(output.getvalue()) == length
