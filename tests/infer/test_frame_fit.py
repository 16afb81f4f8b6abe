import json
import logging

from tests.conftest import GOLDEN
from vedette.core.letterbox import LetterboxPolicy
from vedette.infer.frame_fit import fit_to_strides


def test_golden_13_size_is_raised_to_the_stride():
    case = next(
        case
        for case in json.loads((GOLDEN / "training" / "13-paths.json").read_text())["cases"]
        if case["id"] == "T13.4"
    )
    for (size, stride), expected in zip(case["input"], case["expected"], strict=True):
        policy = fit_to_strides(LetterboxPolicy(size_hw=(size, 640), stride=32), (8, 16, stride))
        assert policy.size_hw == (expected, 640)


def test_raised_size_is_logged(caplog):
    with caplog.at_level(logging.WARNING, logger="vedette.infer.frame_fit"):
        fit_to_strides(LetterboxPolicy(size_hw=(100, 128)), (8, 16, 32))
        fit_to_strides(LetterboxPolicy(size_hw=(96, 128)), (8, 16, 32))
    assert caplog.messages == ["image size 100x128 is raised to 128x128, multiples of the stride 32"]


def test_minimal_padding_follows_the_largest_stride():
    policy = fit_to_strides(LetterboxPolicy(size_hw=(640, 640), stride=32, shape="minimal"), (8, 16, 32, 64))
    assert policy.stride == 64
    assert policy.place((400, 640)).frame_hw == (448, 640)
