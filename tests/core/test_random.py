"""Counter-based generators: pinned values, independence, errors."""

import numpy as np
import pytest
import torch

from vedette.core.random import MAX_SEED, generator, permutation, torch_generator
from vedette.errors import UsageError


def test_values_are_pinned():
    """Every run of every version draws these; a change breaks resuming and comparing runs."""
    assert generator(0, "augment").bit_generator.random_raw(2).tolist() == [
        12258192065516708591,
        14326231771763568561,
    ]
    assert generator(7, "augment", 3, 12).random(3).tolist() == [
        0.6502013715431465,
        0.6346671626596012,
        0.7970490439923459,
    ]
    assert permutation(1, "shuffle", 2, 8).tolist() == [0, 1, 7, 2, 3, 6, 5, 4]
    assert torch.rand(2, generator=torch_generator(5, "init", 1)).tolist() == [
        0.8781356811523438,
        0.41810280084609985,
    ]


def test_order_of_calls_does_not_matter():
    places = [(epoch, position) for epoch in range(3) for position in range(5)]
    forwards = {place: generator(9, "augment", *place).random(7).tolist() for place in places}
    backwards = {place: generator(9, "augment", *place).random(7).tolist() for place in reversed(places)}
    assert forwards == backwards


def test_places_do_not_share_numbers():
    """Other seed, stream, counter, number or order of counters: other numbers, whole sequences apart."""
    places = [(seed, stream) for seed in (0, 1, 2**32, MAX_SEED) for stream in ("a", "b", "0:a", "")]
    counters = [(), (0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 0), (0, 0, 1), (2**32,), (MAX_SEED,)]
    words = [
        generator(*place, *counter).bit_generator.random_raw(64) for place in places for counter in counters
    ]
    assert len(np.unique(np.concatenate(words))) == len(places) * len(counters) * 64


def test_state_is_the_documented_layout():
    state = generator(5, "augment", 3, 4).bit_generator.state["state"]
    assert state["key"][0] == 5
    assert state["counter"].tolist() == [0, 3, 4, 0]


def test_permutation_is_one():
    order = permutation(0, "shuffle", 0, 1000)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(1000))
    assert order.tolist() != permutation(0, "shuffle", 1, 1000).tolist()
    assert permutation(0, "shuffle", 0, 0).shape == (0,)
    assert permutation(0, "shuffle", 0, 1).tolist() == [0]


def test_permutation_is_uniform():
    """Each of the 6 orders of 3 items: 600 draws, expected 100 each, six standard deviations allowed."""
    counts = {}
    for epoch in range(600):
        order = tuple(permutation(3, "uniform", epoch, 3))
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6
    assert all(45 < count < 155 for count in counts.values())


def test_global_state_is_left_alone():
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    generator(1, "a", 2).random(10)
    torch.rand(3, generator=torch_generator(1, "a", 2))
    assert torch.equal(torch_before, torch.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])


@pytest.mark.parametrize(
    "arguments", [(-1, "a"), (2**63, "a"), (0, "a", -1), (0, "a", 2**63), (0, "a", 1, 2, 3, 4)]
)
def test_out_of_range(arguments):
    with pytest.raises(UsageError, match="stream 'a'"):
        generator(*arguments)


def test_negative_length():
    with pytest.raises(UsageError, match="-1"):
        permutation(0, "a", 0, -1)


def test_numpy_numbers_are_accepted():
    assert generator(np.int64(3), "a", np.int64(4)).random() == generator(3, "a", 4).random()
