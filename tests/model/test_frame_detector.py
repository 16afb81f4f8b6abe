from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from tests.model.lively import lively_detector
from tests.model.small_table import small_detector
from vedette.core.picture_format import PictureFormat
from vedette.errors import UsageError
from vedette.model.detector import Detector, build_detector
from vedette.model.frame_detector import FrameDetector
from vedette.model.releases import architecture
from vedette.model.rewrites import REWRITES


def some_frames(batch: int, height: int, width: int, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (batch, height, width, channels), dtype=torch.uint8, generator=generator)


@torch.no_grad()
def plain_planes(detector: Detector, frames: torch.Tensor) -> list[torch.Tensor]:
    return detector.planes(frames.permute(0, 3, 1, 2).to(next(detector.parameters()).dtype) / 255)


@pytest.mark.parametrize("name", ["tiny", "yolov5s@v1.0", "yolov5s@v3.1", "yolov5n6@v7.0"])
@pytest.mark.parametrize("reverse", [False, True])
def test_frames_in_planes_out(name: str, reverse: bool) -> None:
    detector = build_detector(name, classes=2, seed=1).eval()
    network = FrameDetector(detector, "planes", reverse_channels=reverse)
    frames = some_frames(2, 64, 128)
    with torch.no_grad():
        planes = network(frames.flip(3) if reverse else frames)
    expected = plain_planes(detector, frames)
    assert [plane.shape for plane in planes] == [plane.shape for plane in expected]
    assert planes[0].shape[1] == 3 * 7
    for actual, plane in zip(planes, expected, strict=True):
        torch.testing.assert_close(actual, plane, rtol=0, atol=1e-5)


def test_all_rewrites_on_a_lively_network() -> None:
    """In float64, where equal by formula is equal to 1e-9, however the network amplifies what it sees."""
    detector = lively_detector().double()
    frames = some_frames(1, 96, 64)
    expected = plain_planes(detector, frames)
    for paired in (False, True):
        with torch.no_grad():
            planes = FrameDetector(detector, "planes", rewrites=REWRITES, paired=paired)(frames)
        for actual, plane in zip(planes, expected, strict=True):
            torch.testing.assert_close(actual, plane, rtol=1e-9, atol=1e-9)


def test_cells_and_predictions() -> None:
    detector = lively_detector().double()
    frames = some_frames(2, 64, 96)
    with torch.no_grad():
        planes = FrameDetector(detector, "planes")(frames)
        cells = FrameDetector(detector, "cells")(frames)
        predictions = FrameDetector(detector, "predictions")(frames)
        expected = detector.head.decode(detector(frames.permute(0, 3, 1, 2).double() / 255))
    for cell, plane in zip(cells, planes, strict=True):
        torch.testing.assert_close(cell, plane.permute(0, 2, 3, 1), rtol=1e-9, atol=1e-9)
    assert predictions.dtype == torch.float32
    torch.testing.assert_close(predictions, expected)


def test_names_of_outputs() -> None:
    fine_first = FrameDetector(build_detector("tiny", classes=1))
    assert fine_first.output_names == ("stride8", "stride16", "stride32")
    coarse_first = FrameDetector(build_detector("yolov5s@v1.0", classes=1), "planes")
    assert coarse_first.output_names == ("stride32", "stride16", "stride8")
    assert FrameDetector(build_detector("tiny", classes=1), "predictions").output_names == ("predictions",)


def test_an_unknown_output_is_refused() -> None:
    with pytest.raises(UsageError, match="'boxes'"):
        FrameDetector(build_detector("tiny", classes=1), "boxes")  # type: ignore[arg-type]


def test_bfloat16_rounds_the_network_not_the_frames() -> None:
    detector = lively_detector()
    network = FrameDetector(detector, "planes").to(torch.bfloat16)
    assert network.dtype == torch.bfloat16
    frames = some_frames(1, 64, 64)
    with torch.no_grad():
        planes = network(frames)
    for actual, plane in zip(planes, plain_planes(detector, frames), strict=True):
        assert actual.dtype == torch.bfloat16
        assert torch.nn.functional.cosine_similarity(actual.flatten().float(), plane.flatten(), 0) > 0.99


@pytest.mark.parametrize("channels", [1, 4])
def test_channels_of_other_numbers(channels: int) -> None:
    detector = build_detector(architecture("tiny", classes=1, channels=channels)).eval()
    frames = some_frames(1, 64, 64, channels)
    with torch.no_grad():
        planes = FrameDetector(detector, "planes")(frames)
    for actual, plane in zip(planes, plain_planes(detector, frames), strict=True):
        torch.testing.assert_close(actual, plane, rtol=0, atol=1e-5)


@pytest.mark.parametrize("limits", [(0, 0), (100, 4095)])
def test_16_bit_frames(limits: tuple[int, int]) -> None:
    kind = PictureFormat(bits=16, value_range=limits)
    detector = lively_detector().double()
    frames = (some_frames(1, 64, 64).int() * 257).to(torch.uint16)
    low, high = kind.value_range
    images = ((frames.double() - low) / (high - low)).clamp(0, 1).permute(0, 3, 1, 2)
    with torch.no_grad():
        planes = FrameDetector(detector, "planes", picture_format=kind)(frames)
        expected = detector.planes(images)
    for actual, plane in zip(planes, expected, strict=True):
        torch.testing.assert_close(actual, plane, rtol=1e-9, atol=1e-9)


def test_a_first_layer_that_is_no_convolution() -> None:
    detector = lively_detector().double()
    expected = plain_planes(detector, some_frames(1, 64, 64))
    detector.model[0] = nn.Sequential(
        nn.Identity(), detector.model[0]
    )  # what a table of strangers may begin with
    for reverse in (False, True):
        network = FrameDetector(detector, "planes", reverse_channels=reverse)
        frames = some_frames(1, 64, 64)
        with torch.no_grad():
            planes = network(frames.flip(3) if reverse else frames)
        for actual, plane in zip(planes, expected, strict=True):
            torch.testing.assert_close(actual, plane, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("output", ["cells", "predictions"])
def test_a_trace_holds_for_other_batches_and_sizes(output: str) -> None:
    network = FrameDetector(lively_detector(), output)  # type: ignore[arg-type]
    with warnings.catch_warnings(), torch.no_grad():
        # No warning of the tracer: nothing of this size is frozen into the graph.
        warnings.filterwarnings("ignore", ".*torch.jit", DeprecationWarning)
        traced = torch.jit.trace(network, some_frames(1, 64, 96))
        frames = some_frames(3, 128, 64)
        actual, expected = traced(frames), network(frames)
    if output == "predictions":
        actual, expected = (actual,), (expected,)
    assert all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # of torch about itself
def test_an_export_holds_for_other_batches_and_sizes() -> None:
    network = FrameDetector(small_detector(), "predictions")
    batch, heights, widths = (torch.export.Dim(name, min=1, max=64) for name in ("batch", "height", "width"))
    with torch.no_grad():
        program = torch.export.export(
            network, (some_frames(2, 64, 96),), dynamic_shapes=({0: batch, 1: 4 * heights, 2: 4 * widths},)
        )
        frames = some_frames(3, 128, 64)
        torch.testing.assert_close(program.module()(frames), network(frames))


@pytest.mark.parametrize("output", ["planes", "cells", "predictions"])
@pytest.mark.parametrize("name", ["tiny", "yolov5s@v1.0"])
def test_maps_of_layers_follow_the_outputs(name: str, output: str) -> None:
    """In float64: rewritten or not, a layer gives what it gave."""
    detector = lively_detector(name).double()
    frames = some_frames(2, 64, 96)
    network = FrameDetector(detector, output)  # type: ignore[arg-type]
    with torch.no_grad():
        alone = network(frames)
        network.layers = (2, *sorted(detector.level_inputs))
        *outputs, shallow, first, second, third = network(frames)
        expected = detector.features(frames.permute(0, 3, 1, 2).double() / 255, network.layers)
    for actual, plane in zip(outputs, [alone] if output == "predictions" else alone, strict=True):
        torch.testing.assert_close(actual, plane, rtol=0, atol=0)
    for actual, layer in zip((shallow, first, second, third), network.layers, strict=True):
        torch.testing.assert_close(actual, expected[layer], rtol=1e-9, atol=1e-9)
    assert network.output_names[-4:] == tuple(f"layer{layer}" for layer in network.layers)


@pytest.mark.parametrize("name", ["tiny", "yolov5n@v4.0", "yolov5n@v7.0"])
def test_first_weights_are_normal_numbers_of_half_precision(name: str) -> None:
    """The control: without it a processor that takes the others for zero loses a part of the picture."""
    detector = build_detector(name, classes=2, seed=1).eval()
    frames = some_frames(1, 64, 64)
    lost, apart = {}, {}
    for shrunk in (False, True):
        network = FrameDetector(detector, "planes")
        network.layers = (0,)
        with torch.no_grad():
            plain = network(frames)
            if shrunk:
                network.shrink_frames()
                for actual, expected in zip(network(frames), plain, strict=True):
                    torch.testing.assert_close(actual, expected, rtol=0, atol=0)
            (weights,) = (
                layer.weight for layer in network.network.model[0].modules() if hasattr(layer, "weight")
            )
            normal = weights.abs() >= torch.finfo(torch.float16).smallest_normal
            lost[shrunk] = 1.0 - normal.double().mean().item()
            weights.mul_(normal)
            apart[shrunk] = ((network(frames)[-1] - plain[-1]).norm() / plain[-1].norm()).item()
    assert lost[False] > 0.1
    assert lost[True] < 0.002
    assert apart[False] > 0.02
    assert apart[True] < 1e-4


def test_frames_whose_range_is_cut_need_no_shrinking() -> None:
    network = FrameDetector(build_detector("tiny", classes=2), picture_format=PictureFormat(3, 8, (16, 235)))
    before = network.network.model[0].state_dict()
    network.shrink_frames()
    for name, tensor in network.network.model[0].state_dict().items():
        assert torch.equal(tensor, before[name])
