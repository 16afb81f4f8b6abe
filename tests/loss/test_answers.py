import pytest
import torch

from vedette.loss.answers import add_rows, read_answers, read_answers_plainly


def random_levels(generator, layout, dtype):
    """Level outputs as a network makes them: permuted views, or plain contiguous tensors."""
    levels = []
    for height, width in ((6, 5), (3, 4)):
        if layout == "contiguous":
            leaf = torch.randn(2, 3, height, width, 7, generator=generator).to(dtype).requires_grad_()
            levels.append((leaf, leaf))
            continue
        leaf = torch.randn(2, 21, height, width, generator=generator).to(dtype)
        if layout == "channels_last":
            leaf = leaf.to(memory_format=torch.channels_last)
        leaf.requires_grad_()
        levels.append((leaf, leaf.view(2, 3, 7, height, width).permute(0, 1, 3, 4, 2)))
    return [leaf for leaf, _ in levels], [level for _, level in levels]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", ["contiguous", "planes", "channels_last"])
@pytest.mark.parametrize("count", [0, 9])
def test_values_and_gradients_equal_plain_indexing(layout, dtype, count):
    generator = torch.Generator().manual_seed(count)
    places = tuple(torch.randint(0, most, (2, count), generator=generator) for most in (2, 3, 3, 4))
    results = []
    for read in (read_answers, read_answers_plainly):
        leaves, levels = random_levels(torch.Generator().manual_seed(1), layout, dtype)
        rows, logits = read(levels, places)
        assert rows.dtype == logits.dtype == torch.float32
        weights = torch.arange(rows.numel()).view(rows.shape) % 8
        ((rows * weights).sum() + (logits * (torch.arange(len(logits)) % 4)).sum()).backward()
        results.append((rows, logits, [leaf.grad for leaf in leaves]))
    (rows, logits, gradients), (plain_rows, plain_logits, plain_gradients) = results
    assert torch.equal(rows, plain_rows)
    assert torch.equal(logits, plain_logits)
    for ours, theirs in zip(gradients, plain_gradients, strict=True):
        # Small whole numbers: exact in both dtypes, in any order.
        assert torch.equal(ours, theirs)


def test_the_gradient_has_the_layout_of_the_level():
    leaves, levels = random_levels(torch.Generator().manual_seed(0), "channels_last", torch.float32)
    places = tuple(torch.zeros(2, 1, dtype=torch.int64) for _ in range(4))
    kept = []
    for level in levels:
        level.register_hook(lambda gradient: kept.append(gradient.stride()))
    rows, logits = read_answers(levels, places)
    (rows.sum() + logits.sum()).backward()
    assert sorted(kept) == sorted(level.stride() for level in levels)
    assert all(leaf.grad.is_contiguous(memory_format=torch.channels_last) for leaf in leaves)


def test_the_gradient_has_the_same_bits_every_time_with_several_threads() -> None:
    """Many rows answer for one cell; the order in which their gradients are added must not vary."""
    random = torch.Generator().manual_seed(0)
    level = (
        torch.zeros(2, 3, 4, 4, 8, dtype=torch.float32)
        .permute(0, 1, 4, 2, 3)
        .contiguous()
        .permute(0, 1, 3, 4, 2)
    )
    places = tuple(torch.randint(size, (40_000,), generator=random) for size in level.shape[:4])
    rows = torch.randn(40_000, 8, generator=random)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        sums = set()
        for _ in range(12):
            gradient = torch.zeros_like(level)
            add_rows(gradient, places, rows)
            sums.add(gradient.numpy().tobytes())
    finally:
        torch.set_num_threads(before)
    assert len(sums) == 1
    expected = torch.zeros_like(level).index_put_(places, rows, accumulate=True)
    assert torch.allclose(gradient, expected, atol=1e-3)
