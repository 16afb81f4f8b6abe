from __future__ import annotations

import copy
import csv
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import GOLDEN
from tests.model.filling import SPEC, assert_summary, fill_weights, golden_image, read_golden
from vedette.errors import ModelError
from vedette.model.blocks import Conv
from vedette.model.detector import _BLOCKS, Detector, build_detector, summary
from vedette.model.fuse import fuse
from vedette.model.releases import architecture
from vedette.model.rows import MODULES
from vedette.model.summary import count_parameters

STATE_DICTS = {
    "yolov5s@v1.0": "state_dict_yolov5s_v1.csv",
    "yolov5s@v3.1": "state_dict_yolov5s_v3.1.csv",
    "yolov5s@v4.0": "state_dict_yolov5s_v4.csv",
    "yolov5m@v4.0": "state_dict_yolov5m_v4.csv",
    "yolov5s@v7.0": "state_dict_yolov5s_v7.csv",
}

# Specification model.md section 6: parameters, parameters fused, modules, modules fused, parameter tensors,
# parameter tensors fused, state-dict entries, GFLOPs (to the digits given).
SIZES: dict[str, tuple[int, int, int, int, int, int, int, float | None]] = {
    "yolov5s@v4.0": (7276605, 7266973, 283, 224, 183, 124, 362, 17.011),
    "yolov5m@v4.0": (21375645, 21356877, 391, 308, 255, 172, 506, 51.332),
    "yolov5l@v4.0": (47056765, 47025981, 499, 392, 327, 220, 650, 115.446),
    "yolov5x@v4.0": (87775965, 87730285, 607, 476, 399, 268, 794, 218.793),
    "yolov5s@v3.1": (7468157, 7459581, 283, 232, 191, 140, 370, None),
    "yolov5m@v3.1": (21805053, 21787869, 391, 316, 263, 188, 514, None),
    "yolov5l@v3.1": (47818749, 47790077, 499, 400, 335, 236, 658, None),
    "yolov5x@v3.1": (88965245, 88922205, 607, 484, 407, 284, 802, None),
    "yolov5s@v1.0": (7468157, 7459581, 282, 231, 191, 140, 370, None),
    "yolov5m@v1.0": (21805053, 21787869, 390, 315, 263, 188, 514, None),
    "yolov5l@v1.0": (47818749, 47790077, 498, 399, 335, 236, 658, None),
    "yolov5x@v1.0": (88965245, 88922205, 606, 483, 407, 284, 802, None),
    "yolov5n@v7.0": (1872157, 1867405, 214, 157, 177, 120, 349, 4.496),
    "yolov5s@v7.0": (7235389, 7225885, 214, 157, 177, 120, 349, 16.485),
    "yolov5m@v7.0": (21190557, 21172173, 291, 212, 243, 164, 481, 48.967),
    "yolov5l@v7.0": (46563709, 46533693, 368, 267, 309, 208, 613, 109.145),
    "yolov5x@v7.0": (86749405, 86705005, 445, 322, 375, 252, 745, 205.669),
    "yolov5n6@v7.0": (3246940, 3239884, 281, 206, 233, 158, 459, 4.587),
    "yolov5s6@v7.0": (12626620, 12612508, 281, 206, 233, 158, 459, 16.8495),
    "yolov5m6@v7.0": (35731932, 35704908, 379, 276, 317, 214, 627, 50.008),
    "yolov5l6@v7.0": (76770172, 76726332, 477, 346, 401, 270, 795, 111.389),
    "yolov5x6@v7.0": (140794780, 140730220, 575, 416, 485, 326, 963, 209.789),
}


def on_meta(name: str, classes: int | None = None) -> Detector:
    with torch.device("meta"):
        return Detector(architecture(name, classes))


@pytest.fixture(scope="module")
def tiny() -> Detector:
    return build_detector("tiny", classes=2).eval()


@pytest.mark.parametrize("name", STATE_DICTS)
def test_state_dict_is_the_published_one(name: str) -> None:
    """golden state_dicts/*.csv: names, order, shapes, types, and which entries are parameters."""
    with (GOLDEN / "state_dicts" / STATE_DICTS[name]).open(encoding="utf-8", newline="") as file:
        expected = [(row["key"], row["shape"], row["dtype"], row["kind"]) for row in csv.DictReader(file)]
    detector = on_meta(name)
    parameters = {key for key, _ in detector.named_parameters()}
    actual = [
        (
            key,
            "x".join(str(side) for side in tensor.shape) or "scalar",
            str(tensor.dtype).removeprefix("torch."),
            "parameter" if key in parameters else "buffer",
        )
        for key, tensor in detector.state_dict().items()
    ]
    assert actual == expected


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_the_published_ones(name: str) -> None:
    parameters, parameters_fused, modules, modules_fused, tensors, tensors_fused, entries, gflops = SIZES[
        name
    ]
    detector = on_meta(name)
    assert count_parameters(detector) == parameters
    assert len(list(detector.modules())) == modules
    assert len(list(detector.parameters())) == tensors
    assert len(detector.state_dict()) == entries
    fused = fuse(detector)
    assert count_parameters(fused) == parameters_fused
    assert len(list(fused.modules())) == modules_fused
    assert len(list(fused.parameters())) == tensors_fused
    described = summary(detector.architecture)
    assert (described.parameters, described.parameters_fused) == (parameters, parameters_fused)
    if gflops is not None:  # the specification gives none for v1.0 and v3.1
        assert described.gflops == pytest.approx(gflops, abs=5.01e-4)


def test_v6_is_v7_by_another_name() -> None:
    for size in "nsmlx":
        assert architecture(f"yolov5{size}@v6.0").rows == architecture(f"yolov5{size}@v7.0").rows


def test_parameters_by_classes() -> None:
    """golden bias_init.json: parameter counts of v4.0 s for other numbers of classes."""
    for case in read_golden("bias_init.json")["cases"]:
        assert count_parameters(on_meta("yolov5s", case["nc"])) == case["params"]


@pytest.mark.parametrize("path", sorted(SPEC.glob("model_*.json")), ids=lambda path: path.stem)
def test_outputs_are_the_published_ones(path: Any) -> None:
    """golden model_*.json: raw levels, decoded boxes and scores, and layers, plain and fused.

    Raw values within 1e-4 and coordinates within 0.02 px: the reference's own float32 run strays up to 7e-5 and
    0.013 px from the float64 values of the files. Statistics relative 1e-4, scores 1e-4, as suggested there.
    """
    golden = read_golden(path.name)
    detector = build_detector(f"{golden['model']}@{golden['release']}").eval()
    fill_weights(detector, golden["bn_k"])
    for network in (detector, fuse(detector)):
        for case in golden["cases"]:
            with torch.no_grad():
                levels = network(golden_image(case["input"]))
            for level, expected in zip(levels, case["raw"], strict=True):
                assert_summary(level, expected, [1e-4] * 85)
            decoded = network.head.decode(levels)
            assert_summary(decoded, case["decoded"], [0.02] * 4 + [1e-4] * 81)
            _assert_layers(network, golden_image(case["input"]), case.get("layers", []))


def _assert_layers(network: Detector, images: Tensor, expected: list[dict[str, Any]]) -> None:
    with torch.no_grad():
        maps = network.features(images, [layer["i"] for layer in expected])
    assert len(maps) == len(expected)
    for layer in expected:
        values = maps[layer["i"]]
        assert list(values.shape) == layer["shape"]
        # the files give 8 digits; 1e-4 is what float32 accumulates over the layers
        assert values.mean().item() == pytest.approx(layer["mean"], rel=1e-4, abs=1e-4)
        assert values.std(correction=0).item() == pytest.approx(layer["std"], rel=1e-4)
        assert values.reshape(-1)[:3].tolist() == pytest.approx(layer["first"], rel=1e-4, abs=1e-4)


def test_every_module_can_be_built() -> None:
    assert set(_BLOCKS) | {"Concat", "Conv2d", "Detect", "Upsample"} == set(MODULES)


@pytest.mark.parametrize("name", ["yolov5s@v1.0", "yolov5s@v4.0", "yolov5n6@v7.0", "tiny"])
def test_strides_are_what_an_image_gets(name: str) -> None:
    detector = on_meta(name)
    levels = detector(torch.empty(1, 3, 128, 192, device="meta"))
    assert [(128 // level.shape[2], 192 // level.shape[3]) for level in levels] == [
        (stride, stride) for stride in detector.strides
    ]
    assert [level.shape[1] for level in levels] == [3] * len(levels)
    wanted = range(len(detector.model) - 1)
    maps = detector.features(torch.empty(1, 3, 128, 128, device="meta"), list(wanted))
    described = summary(detector.architecture).layers
    assert [tuple(maps[i].shape) for i in wanted] == [
        (1, described[i].output_channels, 128 // described[i].stride, 128 // described[i].stride)  # type: ignore[operator]
        for i in wanted
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("yolov5s@v1.0", {"backbone.p5": 9, "neck.p3": 17, "neck.p4": 21, "neck.p5": 25}),
        ("yolov5s@v3.1", {"backbone.p2": 2, "backbone.p3": 4, "backbone.p4": 6, "backbone.p5": 9}),
        ("yolov5s@v4.0", {"backbone.p5": 9, "neck.p3": 17, "neck.p4": 20, "neck.p5": 23}),
        ("yolov5s6@v7.0", {"backbone.p6": 11, "backbone.p5": 8, "neck.p3": 23, "neck.p6": 32}),
    ],
)
def test_feature_names(name: str, expected: dict[str, int]) -> None:
    assert expected.items() <= on_meta(name).feature_names.items()


def test_features_by_number_and_name(tiny: Detector) -> None:
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = tiny.features(images, ["backbone.p3", 4, "neck.p5", 0])
        fused = fuse(tiny).features(images, ["backbone.p3", 4, "neck.p5", 0])
        head_maps = tiny.features(images, ["neck.p3", "neck.p4", "neck.p5"])
        levels = tiny.head(list(head_maps.values()))
        expected = tiny(images)
    assert list(maps) == ["backbone.p3", 4, "neck.p5", 0]
    assert torch.equal(maps["backbone.p3"], maps[4])
    assert maps["backbone.p3"].shape[2:] == (8, 12)
    for key, value in maps.items():
        torch.testing.assert_close(fused[key], value, rtol=1e-4, atol=1e-5)  # rounding of the fused weights
    assert all(torch.equal(a, b) for a, b in zip(levels, expected, strict=True))
    assert tiny.features(images, []) == {}


@pytest.mark.parametrize("layer", ["backbone.p9", -1, 24, 99, True, "3"])
def test_unknown_features_are_refused(tiny: Detector, layer: int | str) -> None:
    with pytest.raises(ModelError, match=f"layers: {layer}"):
        tiny.features(torch.zeros(1, 3, 64, 64), [layer])


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((3, 64, 64), torch.float32),
        ((1, 1, 64, 64), torch.float32),
        ((1, 3, 64, 80), torch.float32),
        ((1, 3, 72, 64), torch.float32),
        ((1, 3, 64, 64), torch.uint8),
    ],
)
def test_wrong_images_are_refused(tiny: Detector, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    with pytest.raises(ModelError, match=r"^images: .*expected"):
        tiny(torch.zeros(shape, dtype=dtype))


def test_seed_decides_the_weights_and_nothing_else_changes() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = build_detector("tiny", classes=3, seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(10)
    again = build_detector("tiny", classes=3, seed=5).state_dict()
    other = build_detector("tiny", classes=3, seed=6).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["model.0.conv.conv.weight"], other["model.0.conv.conv.weight"])


@pytest.mark.parametrize("name", ["yolov5n", "yolov5s@v1.0"])
def test_first_guess_is_few_objects(name: str) -> None:
    """The output biases carry the offsets, on the output rows of v1.0 too."""
    detector = build_detector(name, classes=2)
    for convolution, stride in zip(detector.output_convolutions, detector.strides, strict=True):
        assert convolution.bias is not None
        bias = convolution.bias.detach().view(3, 7)
        bound = convolution.in_channels**-0.5  # of the default initialisation
        expected = torch.log(torch.tensor(8 / (640 / stride) ** 2))
        assert ((bias[:, 4] - expected).abs() <= bound).all()
        assert ((bias[:, 5:] - torch.log(torch.tensor(0.6 / 1.01))).abs() <= bound).all()
        assert (bias[:, :4].abs() <= bound).all()


@pytest.mark.parametrize("name", ["tiny", "yolov5s@v1.0", "yolov5s@v3.1", "yolov5n@v7.0"])
def test_every_parameter_learns(name: str) -> None:
    detector = build_detector(name, classes=1).train()
    before = copy.deepcopy(detector.state_dict())
    levels = detector(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)))
    torch.stack([level.square().mean() for level in levels]).sum().backward()
    for key, parameter in detector.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().sum() > 0, key
    means = [key for key in before if key.endswith("running_mean")]
    assert means
    assert all(not torch.equal(before[key], detector.state_dict()[key]) for key in means)


def test_memory_format_and_batch_do_not_change_the_result(tiny: Detector) -> None:
    images = torch.rand(3, 3, 64, 96, generator=torch.Generator().manual_seed(2))
    channels_last = copy.deepcopy(tiny).to(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = tiny.head.decode(tiny(images))
        other = channels_last.head.decode(channels_last(images.to(memory_format=torch.channels_last)))
        single = torch.cat([tiny.head.decode(tiny(image[None])) for image in images])
    # convolutions sum in another order: float32 rounding
    torch.testing.assert_close(other, expected, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(single, expected, rtol=1e-4, atol=1e-3)


def test_survives_pickling(tiny: Detector) -> None:
    restored = pickle.loads(pickle.dumps(tiny))
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(restored(images), tiny(images), strict=True))
    assert restored.architecture == tiny.architecture


def test_one_traced_graph_serves_all_batches(tiny: Detector) -> None:
    """Forward and decode hold nothing that a compiler would have to guess."""

    class Decoded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.detector = fuse(tiny)

        def forward(self, images: Tensor) -> Tensor:
            return self.detector.head.decode(self.detector(images))

    network = Decoded().eval()
    example = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    program = torch.export.export(
        network, (example,), dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1, max=8)}}
    )
    images = torch.rand(5, 3, 64, 64, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(images), network(images))


def test_a_billion_parameters_are_refused_before_they_are_allocated() -> None:
    chosen = architecture("yolov5x")
    values = chosen.to_dict() | {"width_multiple": 6.0}
    with pytest.raises(ModelError, match=r"yolov5x: has \d+ parameters, more than"):
        Detector(type(chosen).from_dict(values))


def test_activation_is_shared_only_where_the_release_shares_it() -> None:
    for name, count in (("tiny", 59), ("yolov5n@v7.0", 1)):
        convolutions = [module for module in on_meta(name).modules() if isinstance(module, Conv)]
        assert len({id(module.act) for module in convolutions}) == count


def test_summary_of_a_detector_has_its_own_anchors(tiny: Detector) -> None:
    changed = copy.deepcopy(tiny)
    changed.head.anchors.mul_(2.0)
    assert summary(tiny).anchors_px[0][0] == (10.0, 13.0)
    assert summary(changed).anchors_px[0][0] == (20.0, 26.0)


def test_frozen_normalization_keeps_its_statistics_in_training() -> None:
    detector = build_detector("tiny", classes=1)
    detector.model[0].requires_grad_(False)
    detector.model[1].bn.weight.requires_grad_(False)  # its bias still learns
    assert detector.train() is detector
    assert not detector.model[0].conv.bn.training
    assert detector.model[0].conv.conv.training
    assert detector.model[1].bn.training
    detector.requires_grad_(True).train()
    assert detector.model[0].conv.bn.training
    assert not detector.train(False).model[1].bn.training


@pytest.mark.parametrize("name", ["tiny", "yolov5s@v1.0"])
def test_level_inputs_are_what_the_output_convolutions_read(name):
    detector = build_detector(name, classes=2).eval()
    chosen = detector.level_inputs
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        levels, maps = detector.inspect(images, chosen)
        for convolution, layer, level in zip(detector.output_convolutions, chosen, levels, strict=True):
            raw = convolution(maps[layer]).view(1, 3, 7, *level.shape[2:4]).permute(0, 1, 3, 4, 2)
            torch.testing.assert_close(raw, level, rtol=0, atol=0)
        for level, plain in zip(levels, detector(images), strict=True):
            torch.testing.assert_close(level, plain, rtol=0, atol=0)
