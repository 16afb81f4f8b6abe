"""Who is paired with whom, and how each picture fared."""

from __future__ import annotations

import numpy as np

from tests.evaluate.boxes_made import draw, predictions_of, truth_made
from vedette.evaluate.pairing import count_by_picture, pair_boxes


def test_each_kind_of_error_is_counted_in_its_picture() -> None:
    truth = truth_made(
        [
            [[0, 0, 0, 50, 50], [1, 60, 60, 90, 90]],  # one right, one with the wrong class
            [[0, 0, 0, 50, 50]],  # missed; what was found lies elsewhere
            [],
            [[0, 0, 0, 50, 50]],  # ignored, with a prediction on it
        ],
        ignored=[False, False, False, True],
    )
    predictions = predictions_of(
        [
            [
                [0, 0, 50, 50, 0.9, 0],
                [60, 60, 90, 90, 0.8, 0],
                [0, 0, 50, 50, 0.1, 0],
            ],  # the last: score too low
            [[60, 60, 90, 90, 0.9, 0]],
            [],
            [[0, 0, 50, 50, 0.9, 0]],
        ]
    )
    counts = count_by_picture(pair_boxes(predictions, truth, 0.25, 0.45), truth)
    assert counts.right.tolist() == [1, 0, 0, 0]
    assert counts.wrong_class.tolist() == [1, 0, 0, 0]
    assert counts.missed.tolist() == [0, 1, 0, 0]
    assert counts.spurious.tolist() == [0, 1, 0, 0]
    assert counts.errors.tolist() == [1, 2, 0, 0]
    np.testing.assert_allclose(counts.f1, [0.5, 0.0, 1.0, 1.0])


def test_boxes_are_paired_at_most_once_and_none_is_lost() -> None:
    for seed in range(5):
        predictions, truth = draw(seed)
        pairing = pair_boxes(predictions, truth, 0.25, 0.45)
        assert len(set(pairing.matched.truth)) == len(pairing.matched.truth)
        assert len(set(pairing.matched.prediction)) == len(pairing.matched.prediction)
        assert len(pairing.matched.truth) + pairing.missed.sum() == (~truth.ignored).sum()
        assert not pairing.missed[truth.ignored].any()
        assert (pairing.predictions.scores > 0.25).all()
        counts = count_by_picture(pairing, truth)
        assert counts.missed.sum() == pairing.missed.sum()
        assert counts.spurious.sum() == pairing.spurious.sum()
        assert (counts.right + counts.wrong_class).sum() == len(pairing.matched.truth)
