"""Ignored boxes silence cells, and classes that are not labelled get no gradient: exactly none."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.loss.plain_loss import plain_loss, plain_silent_cells
from vedette.config.hyperparameters import Hyperparameters
from vedette.loss.detection_loss import DetectionLoss
from vedette.loss.ignored import silent_cells
from vedette.loss.rules import RULES

STRIDES = (8, 16, 32)
SIZE = 96
CLASSES = 3
ANCHORS = torch.tensor([[[1.5, 2.0], [3.0, 2.0], [2.0, 5.0]]]).repeat(3, 1, 1)
HALF = [0.0, 0.0, 0.25, 0.5, 0.5, 1.0]  # the left half of picture 0


def random_levels(seed: int, batch: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, 3, SIZE // stride, SIZE // stride, 5 + CLASSES) for stride in STRIDES]
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def random_boxes(seed: int, count: int, batch: int = 2) -> torch.Tensor:
    rows = torch.rand(count, 6, generator=torch.Generator().manual_seed(seed))
    rows[:, 0] = (rows[:, 0] * (batch + 1)).floor() - 1  # some of them padding
    rows[:, 1] = (rows[:, 1] * CLASSES).floor()
    rows[:, 4:] *= 0.6
    return rows


def build(**hyperparameters: float) -> DetectionLoss:
    return DetectionLoss(
        Hyperparameters(**hyperparameters), anchors=ANCHORS, classes=CLASSES, strides=STRIDES
    )


def gradients(*arguments: object, seed: int = 0, **hyperparameters: float) -> list[torch.Tensor]:
    levels = random_levels(seed)
    total, _ = build(**hyperparameters)(levels, *arguments)
    total.backward()
    return [level.grad for level in levels]


TARGETS = torch.tensor([[0, 1, 0.3, 0.4, 0.2, 0.3], [0, 0, 0.8, 0.7, 0.2, 0.1], [1, 2, 0.2, 0.2, 0.3, 0.3]])


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    count=st.integers(0, 6),
    height=st.integers(1, 6),
    width=st.integers(1, 7),
    batch=st.integers(1, 3),
)
def test_silent_cells_equal_a_plain_loop(seed: int, count: int, height: int, width: int, batch: int) -> None:
    ignored = random_boxes(seed, count, batch)
    sizes = [(height, width), (1, 2)]
    expected = [plain_silent_cells(ignored, batch, 2, size).flatten() for size in sizes]
    assert torch.equal(silent_cells(ignored, batch, 2, sizes), torch.cat(expected))


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**31), count=st.integers(0, 6), ignored=st.integers(0, 5), partly=st.booleans())
def test_the_loss_equals_its_plain_twin(seed: int, count: int, ignored: int, partly: bool) -> None:
    dense, plain = random_levels(seed), random_levels(seed)
    targets, boxes = random_boxes(seed, count), random_boxes(seed + 1, ignored)
    draw = torch.rand(count, CLASSES, generator=torch.Generator().manual_seed(seed))
    labelled = draw < 0.5 if partly else None
    total, items = build()(dense, targets, boxes, labelled)
    expected, expected_items = plain_loss(
        plain,
        targets,
        ANCHORS,
        Hyperparameters(),
        RULES["v4.0"].weights(3),
        CLASSES,
        ignored=boxes,
        labelled=labelled,
    )
    total.backward()
    expected.backward()
    # The same float32 sums in another order.
    torch.testing.assert_close(items, expected_items, rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(dense, plain, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 1.5])
def test_silent_cells_have_no_gradient_at_all(gamma: float) -> None:
    found = gradients(torch.zeros(0, 6), torch.tensor([HALF]), fl_gamma=gamma)
    for grad in found:
        columns = grad.shape[3]
        silent = grad[0, :, :, : columns // 2]
        assert (silent == 0).all()
        assert (grad[0, :, :, columns // 2 + 1 :, 4] != 0).all()
        assert (grad[1, ..., 4] != 0).all(), "the other picture learns"


def test_without_the_ignored_box_there_is_one() -> None:
    """Negative control of the test above."""
    for grad in gradients(torch.zeros(0, 6), torch.zeros(0, 6)):
        assert (grad[0, :, :, : grad.shape[3] // 2, 4] != 0).all()


def test_an_answering_cell_inside_an_ignored_box_still_learns() -> None:
    free = gradients(TARGETS)
    inside = gradients(TARGETS, torch.tensor([HALF, [1.0, 0, 0.5, 0.5, 1.0, 1.0]]))
    answering = 0
    for ours, theirs in zip(inside, free, strict=True):
        answers = (theirs[..., :4] != 0).any(dim=-1)  # only those cells have a box loss
        answering += int(answers[1].sum())
        assert torch.equal(ours[answers], theirs[answers])
        assert (ours[1][~answers[1]] == 0).all()
    assert answering > 0


def test_an_ignored_box_touches_neither_boxes_nor_classes() -> None:
    """Of whatever class it is, and however it lies over the targets."""
    free = gradients(TARGETS)
    for class_id in range(CLASSES):
        covered = torch.tensor([[0.0, class_id, 0.3, 0.4, 0.4, 0.5], [1.0, class_id, 0.5, 0.5, 1.0, 1.0]])
        for ours, theirs in zip(gradients(TARGETS, covered), free, strict=True):
            others = [0, 1, 2, 3, *range(5, 5 + CLASSES)]
            assert torch.equal(ours[..., others], theirs[..., others])


@pytest.mark.parametrize("ignored", [None, torch.zeros(0, 6), torch.tensor([[-1.0, 0, 0.5, 0.5, 1.0, 1.0]])])
def test_no_ignored_box_changes_nothing(ignored: torch.Tensor | None) -> None:
    """None, an empty tensor, and padding."""
    for ours, theirs in zip(gradients(TARGETS, ignored), gradients(TARGETS), strict=True):
        assert torch.equal(ours, theirs)


def test_everything_ignored_and_nothing_to_find_costs_nothing() -> None:
    everything = torch.tensor([[0.0, 0, 0.5, 0.5, 1.0, 1.0], [1.0, 0, 0.5, 0.5, 1.0, 1.0]])
    levels = random_levels(0)
    total, items = build()(levels, torch.zeros(0, 6), everything)
    total.backward()
    assert total == 0
    assert (items == 0).all()
    assert all((level.grad == 0).all() for level in levels)


def test_many_boxes_in_any_order_and_under_several_threads_give_the_same_bits() -> None:
    boxes = random_boxes(3, 300)
    orders = [
        torch.arange(300),
        torch.arange(299, -1, -1),
        torch.randperm(300, generator=torch.Generator().manual_seed(1)),
    ]
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results += [gradients(TARGETS, boxes[order]) for order in orders]
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(result, results[0], strict=True))


@pytest.mark.parametrize("gamma", [0.0, 1.5])
def test_classes_that_are_not_labelled_have_no_gradient_at_all(gamma: float) -> None:
    """Three targets from pictures with other labelled classes; no two of them share a cell."""
    labelled = torch.tensor([[True, True, False], [True, False, False], [False, False, True]])
    free, masked = gradients(TARGETS, fl_gamma=gamma), gradients(TARGETS, None, labelled, fl_gamma=gamma)
    for number in range(len(TARGETS)):
        alone = gradients(TARGETS[number : number + 1], fl_gamma=gamma)
        for ours, theirs, own in zip(masked, free, alone, strict=True):
            cells = (own[..., :4] != 0).any(dim=-1)
            if not cells.any():
                continue
            classes = ours[..., 5:][cells]
            assert (classes[:, ~labelled[number]] == 0).all()
            assert torch.equal(classes[:, labelled[number]], theirs[..., 5:][cells][:, labelled[number]])
            assert (theirs[..., 5:][cells] != 0).all(), "negative control"
            assert torch.equal(ours[..., :5], theirs[..., :5]), "boxes and objectness learn as ever"


def test_all_labelled_is_the_same_as_no_word_of_it() -> None:
    for ours, theirs in zip(
        gradients(TARGETS, None, torch.ones(3, CLASSES, dtype=torch.bool)), gradients(TARGETS), strict=True
    ):
        assert torch.equal(ours, theirs)
    assert all(
        torch.isfinite(grad).all()
        for grad in gradients(torch.zeros(0, 6), None, torch.zeros(0, CLASSES, dtype=torch.bool))
    )
