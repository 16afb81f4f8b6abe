import numpy as np
import pytest

from vedette.core.letterbox import LetterboxPolicy
from vedette.core.provenance import Provenance


@pytest.fixture
def provenance():
    return Provenance(
        kind="cell",
        levels=np.array([0, 1, 2]),
        strides=np.array([8, 16, 32]),
        cells_xy=np.array([[1, 2], [3, 4], [5, 6]]),
        anchors=np.array([2, 1, 0]),
        anchors_wh_px=np.ones((3, 2), np.float32),
        logits=np.arange(18, dtype=np.float32).reshape(3, 6),
        features=tuple(np.full(length, length, np.float32) for length in (4, 8, 16)),
        placement=LetterboxPolicy().place((480, 640)),
    )


@pytest.mark.parametrize(
    "rows", [np.array([2, 0]), np.array([True, False, True]), np.array([], dtype=np.int64)]
)
def test_chosen_rows_stay_together(provenance, rows):
    expected = np.arange(3)[rows]
    chosen = provenance.chosen(rows)
    assert len(chosen) == len(expected) == len(chosen.features)
    assert [len(vector) for vector in chosen.features] == [(4, 8, 16)[number] for number in expected]
    for name in ("levels", "strides", "cells_xy", "anchors", "anchors_wh_px", "logits"):
        np.testing.assert_array_equal(getattr(chosen, name), getattr(provenance, name)[expected])
    assert chosen.placement is provenance.placement
