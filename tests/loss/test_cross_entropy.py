import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.loss.cross_entropy import binary_cross_entropy, smoothed_targets

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "spec" / "loss.json").read_text())


@pytest.mark.parametrize(
    "case", GOLDEN["focal_elementwise"], ids=lambda c: f"{c['logit']}-{c['target']}-{c['gamma']}"
)
def test_golden_elements(case):
    """tests/golden/spec/loss.json "focal_elementwise"; 1e-5 relative, float32."""
    logit, target = torch.tensor([case["logit"]]), torch.tensor([case["target"]])
    assert binary_cross_entropy(logit, target).item() == pytest.approx(case["bce"], rel=1e-5)
    focal = binary_cross_entropy(logit, target, focal_gamma=case["gamma"])
    assert focal.item() == pytest.approx(case["focal"], rel=1e-5)


@pytest.mark.parametrize("case", GOLDEN["smooth_bce"])
def test_golden_smoothing(case):
    """tests/golden/spec/loss.json "smooth_bce"."""
    assert smoothed_targets(case["eps"]) == pytest.approx(case["pos_neg"])


@settings(max_examples=50, deadline=None)
@given(
    logit=st.floats(-60, 60),
    target=st.floats(0, 1),
    weight=st.floats(0.1, 5),
    gamma=st.sampled_from([0.0, 0.5, 1.5]),
)
def test_equals_the_formula_in_float64(logit, target, weight, gamma):
    x, t = torch.tensor([logit], dtype=torch.float64), torch.tensor([target], dtype=torch.float64)
    p = torch.sigmoid(x)
    expected = -(
        weight * t * torch.nn.functional.logsigmoid(x) + (1 - t) * torch.nn.functional.logsigmoid(-x)
    )
    right = t * p + (1 - t) * (1 - p)
    if gamma:
        expected = expected * (0.25 * t + 0.75 * (1 - t)) * (1 - right) ** gamma
    ours = binary_cross_entropy(x.float(), t.float(), positive_weight=weight, focal_gamma=gamma)
    # The floor of the focal factor and float32 rounding of 1 - p leave an absolute error.
    torch.testing.assert_close(ours.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.5])
def test_a_saturated_right_answer_has_a_finite_gradient(gamma):
    logits = torch.tensor([200.0, -200.0, 0.0], requires_grad=True)
    binary_cross_entropy(logits, torch.tensor([1.0, 0.0, 0.5]), focal_gamma=gamma).sum().backward()
    assert torch.isfinite(logits.grad).all()
