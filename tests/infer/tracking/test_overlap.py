import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.core.nms import pairwise_iou
from vedette.infer.tracking.overlap import overlapping_pairs


def assert_same_as_all_pairs(first, second, block):
    rows, columns, values = overlapping_pairs(first, second, block)
    every = pairwise_iou(first, second)
    expected = np.nonzero(every > 0)
    np.testing.assert_array_equal(rows, expected[0])
    np.testing.assert_array_equal(columns, expected[1])
    np.testing.assert_array_equal(values, every[expected])


boxes = st.lists(st.lists(st.integers(0, 12), min_size=4, max_size=4), max_size=14).map(
    lambda rows: np.array(rows, dtype=np.float32).reshape(-1, 4)
)


@settings(deadline=None, max_examples=200)
@given(boxes, boxes, st.integers(1, 5))
def test_the_same_as_comparing_all_with_all(first, second, block):
    """Of swapped and empty boxes too."""
    assert_same_as_all_pairs(first, second, block)


@pytest.mark.parametrize("widest", [30, 900])
def test_of_many_boxes(widest):
    random = np.random.default_rng(widest)

    def some(count):
        corner = random.uniform(0, 1000, (count, 2))
        return np.concatenate((corner, corner + random.uniform(1, widest, (count, 2))), axis=1).astype(
            np.float32
        )

    assert_same_as_all_pairs(some(300), some(280), 64)
