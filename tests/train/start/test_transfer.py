"""Published counts of taken tensors, and outputs matched by class name down to the bits."""

from __future__ import annotations

import json

import pytest
import torch

from tests.conftest import GOLDEN
from vedette.checkpoint.deployable import LoadedDetector
from vedette.core.letterbox import LetterboxPolicy
from vedette.model.detector import Detector, build_detector
from vedette.model.head import BOX_VALUES
from vedette.model.releases import architecture
from vedette.train.start.transfer import (
    fitted_channels,
    match_classes,
    output_entries,
    transfer,
    transferable,
)

CASES = {
    case["id"]: case
    for case in json.loads((GOLDEN / "training" / "24-training-misc.json").read_text(encoding="utf-8"))[
        "cases"
    ]
}
LETTERBOX = LetterboxPolicy(size_hw=(64, 64), stride=32, shape="minimal")


def _loaded(names: tuple[str, ...], model: str = "tiny", seed: int = 1) -> LoadedDetector:
    detector = build_detector(model, classes=len(names), seed=seed)
    return LoadedDetector(detector.eval(), names, LETTERBOX, {})


def _rows(detector: Detector, name: str) -> torch.Tensor:
    """An output entry by anchor and value, [A, 5 + C, ...]."""
    tensor = detector.state_dict()[name]
    return tensor.reshape(detector.head.anchors_per_level, -1, *tensor.shape[1:])


@pytest.mark.parametrize("name", ["T24.9", "T24.11"])
def test_published_counts(name: str) -> None:
    """golden-training 24: entries taken and entries there are, for 80 and 20 classes, with and without anchors."""
    case = CASES[name]
    with torch.device("meta"):
        given, same, fewer = (
            Detector(architecture(case["input"]["model"], classes=classes)).state_dict()
            for classes in (80, 80, 20)
        )
    found = {
        f"nc={classes} exclude={list(excluded)}": [len(transferable(own, given, excluded)), len(own)]
        for classes, own in ((80, same), (20, fewer))
        for excluded in ((), ("anchor",))
    }
    assert found == case["expected"]


@pytest.mark.parametrize("model", ["tiny", "yolov5s@v1.0"])
def test_outputs_follow_their_class_names(model: str) -> None:
    loaded = _loaded(("cat", "dog", "wind turbine"), model)
    detector, untouched = (build_detector(model, classes=4, seed=2) for _ in range(2))
    taken = transfer(detector, ["ship", "Wind  Turbine", "plane", "cat"], loaded, anchors=True)
    assert (taken.classes_taken, taken.classes_new) == (("Wind  Turbine", "cat"), ("ship", "plane"))
    assert taken.classes_left == ("dog",)
    assert len(taken.by_class) == 6
    assert not taken.initial
    for name in output_entries(detector):
        own, given, before = _rows(detector, name), _rows(loaded.detector, name), _rows(untouched, name)
        assert torch.equal(own[:, :BOX_VALUES], given[:, :BOX_VALUES])
        for to_class, from_class in ((1, 2), (3, 0)):
            assert torch.equal(own[:, BOX_VALUES + to_class], given[:, BOX_VALUES + from_class])
        for new_class in (0, 2):
            assert torch.equal(own[:, BOX_VALUES + new_class], before[:, BOX_VALUES + new_class])
    for name in taken.whole:
        assert torch.equal(detector.state_dict()[name], loaded.detector.state_dict()[name])


def test_equal_class_lists_take_everything() -> None:
    loaded = _loaded(("a", "b"))
    detector = build_detector("tiny", classes=2, seed=2)
    taken = transfer(detector, ["a", "b"], loaded, anchors=True)
    own, given = detector.state_dict(), loaded.detector.state_dict()
    assert taken.whole == tuple(own)
    assert taken.classes_taken == ("a", "b")
    assert all(torch.equal(own[name], given[name]) for name in own)
    assert taken.sentence == f"{len(own)} of {len(own)} tensors taken"


def test_the_same_number_of_other_classes_is_no_match() -> None:
    """Rows are not taken by number: 'b' does not become 'c' because both come second."""
    loaded = _loaded(("a", "b"))
    detector, untouched = (build_detector("tiny", classes=2, seed=2) for _ in range(2))
    taken = transfer(detector, ["c", "a"], loaded, anchors=True)
    assert (taken.classes_taken, taken.classes_new, taken.classes_left) == (("a",), ("c",), ("b",))
    for name in taken.by_class:
        assert torch.equal(_rows(detector, name)[:, 6], _rows(loaded.detector, name)[:, 5])
        assert torch.equal(_rows(detector, name)[:, 5], _rows(untouched, name)[:, 5])


def test_a_single_class_has_no_trained_class_output() -> None:
    assert match_classes(["a"], ["a", "b"]) == match_classes(["a", "b"], ["a"]) == {}
    taken = transfer(build_detector("tiny", classes=1), ["a"], _loaded(("a", "b")), anchors=True)
    assert (len(taken.by_class), taken.classes_taken) == (6, ())


def test_anchors_stay_behind_if_asked() -> None:
    loaded = _loaded(("a", "b"))
    loaded.detector.head.anchors.mul_(2)
    detector = build_detector("tiny", classes=2)
    before = detector.head.anchors.clone()
    taken = transfer(detector, ["a", "b"], loaded, anchors=False)
    assert torch.equal(detector.head.anchors, before)
    assert taken.initial == taken.unused == ("model.24.anchors", "model.24.anchor_grid")


def test_another_model_takes_what_fits_and_says_what_does_not() -> None:
    detector = build_detector("yolov5n@v7.0", classes=2)
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    taken = transfer(detector, ["a", "b"], _loaded(("a", "b", "c")), anchors=False)
    changed = {
        name for name, tensor in detector.state_dict().items() if not torch.equal(tensor, before[name])
    }
    assert changed <= set(taken.whole)
    assert "model.0.conv.weight" in taken.initial
    assert not taken.by_class
    assert (taken.classes_taken, taken.classes_new) == ((), ("a", "b"))


def test_report_names_classes_and_tensors() -> None:
    taken = transfer(
        build_detector("tiny", classes=3), ["a", "b", "d"], _loaded(("a", "b", "c")), anchors=False
    )
    text = taken.report("old.safetensors")
    first, *rest = text.splitlines()
    total = len(build_detector("tiny", classes=3).state_dict())
    assert first == f"old.safetensors: {total - 8} of {total} tensors taken, 6 by class name (2 of 3 classes)"
    joined = "\n".join(rest)
    assert "classes taken: 2\n  a\n  b" in joined
    assert "classes that start anew: 1\n  d" in joined
    assert "classes left behind: 1\n  c" in joined
    assert "tensors that start anew: 2\n  model.24.anchors" in joined


@pytest.mark.parametrize(
    ("wanted", "given", "expected"),
    [
        (["a", "b"], ["b", "a"], {0: 1, 1: 0}),
        (["a", "A"], ["x", "a"], {0: 1, 1: 1}),
        (["a", "z"], ["a", "A", "y"], {0: 0}),
        (["x", "y"], ["a", "b"], {}),
    ],
)
def test_match_classes(wanted: list[str], given: list[str], expected: dict[int, int]) -> None:
    assert match_classes(wanted, given) == expected


@pytest.mark.parametrize(("before", "now"), [(3, 1), (3, 2), (3, 4), (3, 7), (4, 3), (1, 3)])
@pytest.mark.parametrize("model", ["tiny", "yolov5n@v7.0"])
def test_the_first_convolution_is_fitted_to_other_channels(model: str, before: int, now: int) -> None:
    """Focus and convolution stems: a picture whose channels are alike gets the answer it had; all else is taken."""
    given = build_detector(model, classes=3, channels=before, seed=1).eval()
    detector = build_detector(model, classes=3, channels=now, seed=2).eval()
    names = ("a", "b", "c")
    taken = transfer(detector, names, LoadedDetector(given, names, LETTERBOX, {}), anchors=True)
    assert taken.inflated == ("model.0.conv.conv.weight" if model == "tiny" else "model.0.conv.weight",)
    assert not taken.initial
    assert f"1 fitted from {before} to {now} channels" in taken.sentence
    assert "tensors fitted to another number of channels: 1" in taken.report("old.safetensors")
    grey = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = given(grey.expand(-1, before, -1, -1)), detector(grey.expand(-1, now, -1, -1))
    # Sums of another order.
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_channels_that_were_there_keep_their_weights() -> None:
    weight = torch.rand(8, 4 * 3, 3, 3)  # a Focus
    fitted = fitted_channels(weight, 3, 5).reshape(8, 4, 5, 3, 3)
    blocks = weight.reshape(8, 4, 3, 3, 3)
    torch.testing.assert_close(fitted[:, :, :3], blocks * 3 / 5)
    torch.testing.assert_close(fitted[:, :, 3], blocks.mean(2) * 3 / 5)


def test_without_other_channels_nothing_is_fitted() -> None:
    detector = build_detector("tiny", classes=2, seed=2)
    taken = transfer(detector, ("cat", "dog"), _loaded(("cat", "dog")), anchors=True)
    assert taken.inflated == ()
    assert "channels" not in taken.report("old.safetensors")
