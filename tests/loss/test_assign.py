import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.loss.plain_loss import plain_assignment
from vedette.loss.assign import assign_targets, make_grid, pad_targets

GOLDEN = Path(__file__).parents[1] / "golden" / "spec"


def grid_anchors(anchors_px, strides):
    return torch.tensor(
        [
            [[w / stride, h / stride] for w, h in zip(flat[::2], flat[1::2], strict=True)]
            for flat, stride in zip(anchors_px, strides, strict=True)
        ]
    )


def lists(found, level):
    keep = found.valid[level]
    names = ("image", "anchor", "row", "column", "class_ids")
    return {name: getattr(found, name)[level][keep].tolist() for name in names}


@pytest.mark.parametrize("padding", [0, 5])
def test_golden_targets(padding):
    """tests/golden/spec/targets.json, in its order; boxes to 1e-6 of a cell (float32 of values up to 20)."""
    golden = json.loads((GOLDEN / "targets.json").read_text())
    anchors = grid_anchors(golden["anchors_px"], golden["stride"])
    targets = pad_targets(torch.tensor(golden["rows"]), len(golden["rows"]) + padding)
    grid = make_grid(anchors, [tuple(size) for size in golden["grid_hw"]])
    found = assign_targets(targets, grid, ratio_threshold=golden["anchor_t"])
    for number, level in enumerate(golden["levels"]):
        ours = lists(found, number)
        assert ours["image"] == level["image"]
        assert ours["anchor"] == level["anchor"]
        assert ours["row"] == level["gj"]
        assert ours["column"] == level["gi"]
        assert ours["class_ids"] == level["cls"]
        keep = found.valid[number]
        boxes = found.boxes_cxcywh_cells[number][keep]
        torch.testing.assert_close(boxes, torch.tensor(level["tbox"]), rtol=0, atol=1e-6)
        torch.testing.assert_close(
            found.anchors_wh_cells[number][keep], torch.tensor(level["anchor_wh_grid"])
        )


def test_golden_assignment_of_the_first_release():
    """tests/golden/spec/loss_v1.0.json "assignment": a box on a cell border has no mirrored neighbour."""
    golden = json.loads((GOLDEN / "loss_v1.0.json").read_text())
    case = golden["cases"][0]
    sizes = [(case["image_hw"][0] // stride, case["image_hw"][1] // stride) for stride in case["stride"]]
    grid = make_grid(grid_anchors(case["anchors_px"], case["stride"]), sizes)
    found = assign_targets(
        torch.tensor(case["targets"]), grid, ratio_threshold=4.0, mirrored_neighbours=False
    )
    for number, level in enumerate(golden["assignment"]):
        ours = lists(found, number)
        expected = {"image": "image", "anchor": "anchor", "row": "gj", "column": "gi", "class_ids": "cls"}
        assert ours == {name: level[key] for name, key in expected.items()}


coordinates = st.one_of(
    st.floats(0, 1, width=32), st.sampled_from([0.0, 1.0, 0.5, 0.25, 0.125, 1 / 16, 15 / 16, 1 / 32])
)
sides = st.one_of(st.floats(0, 1, width=32), st.sampled_from([0.0, 0.25, 1.0]))
rows = st.lists(
    st.tuples(st.integers(-1, 2), st.integers(0, 4), coordinates, coordinates, sides, sides), max_size=8
)


@settings(max_examples=100, deadline=None)
@given(rows=rows, height=st.integers(1, 12), width=st.integers(1, 12), seed=st.integers(0, 99))
def test_equals_the_plain_twin_entry_by_entry(rows, height, width, seed):
    targets = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    anchors = torch.rand(1, 3, 2, generator=torch.Generator().manual_seed(seed)) * 6 + 0.1
    found = assign_targets(targets, make_grid(anchors, [(height, width)]), ratio_threshold=4.0)
    expected = plain_assignment(targets, anchors[0], (height, width), 4.0)
    ours = lists(found, 0)
    keep = found.valid[0]
    names = ("image", "anchor", "row", "column", "class_ids")
    for position, name in enumerate(names):
        assert ours[name] == [entry[position] for entry in expected]
    boxes = torch.tensor([entry[5] for entry in expected]).reshape(-1, 4)
    torch.testing.assert_close(found.boxes_cxcywh_cells[0][keep], boxes, rtol=0, atol=0)
    # Whatever is masked out is still a place inside the grid.
    assert bool(
        ((found.row >= 0) & (found.row < height) & (found.column >= 0) & (found.column < width)).all()
    )
    assert bool((found.image >= 0).all())


def test_a_box_answers_in_at_most_two_neighbours_unless_it_is_on_a_border():
    grid = make_grid(torch.tensor([[[2.0, 2.0]]]), [(10, 10)])
    inside = assign_targets(torch.tensor([[0, 0, 0.53, 0.58, 0.2, 0.2]]), grid, ratio_threshold=4.0)
    assert int(inside.valid.sum()) == 3
    border = assign_targets(torch.tensor([[0, 0, 0.5, 0.5, 0.2, 0.2]]), grid, ratio_threshold=4.0)
    assert int(border.valid.sum()) == 5
    middle = assign_targets(torch.tensor([[0, 0, 0.55, 0.55, 0.2, 0.2]]), grid, ratio_threshold=4.0)
    assert int(middle.valid.sum()) in (1, 2, 3)


def test_the_ratio_threshold_is_strict():
    grid = make_grid(torch.tensor([[[1.0, 1.0]]]), [(8, 8)])
    exactly = torch.tensor([[0, 0, 0.3, 0.3, 0.5, 0.5]])
    below = torch.tensor([[0, 0, 0.3, 0.3, 0.49, 0.49]])
    assert not assign_targets(exactly, grid, ratio_threshold=4.0).valid.any()
    assert assign_targets(below, grid, ratio_threshold=4.0).valid.any()


def test_padding_changes_nothing_but_the_length():
    targets = torch.rand(5, 6, generator=torch.Generator().manual_seed(3))
    targets[:, :2] = 0
    padded = pad_targets(targets, 9)
    assert padded.shape == (9, 6)
    assert torch.equal(padded[:5], targets)
    grid = make_grid(torch.rand(2, 3, 2) * 3 + 0.5, [(8, 8), (4, 4)])
    assert not assign_targets(padded[5:], grid, ratio_threshold=4.0).valid.any()
