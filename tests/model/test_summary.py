from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from vedette.model.detector import build_detector, summary
from vedette.model.fuse import fuse
from vedette.model.releases import architecture
from vedette.model.summary import count_parameters


@pytest.mark.parametrize("name", ["tiny", "yolov5s@v1.0", "yolov5n6@v7.0"])
def test_operations_are_those_of_a_forward_pass(name: str) -> None:
    """The arithmetic from shapes against convolutions counted while the fused network runs."""
    network = fuse(build_detector(name, classes=2))
    operations = 0

    def count(convolution: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal operations
        assert isinstance(convolution, nn.Conv2d)
        operations += 2 * output.numel() * (convolution.weight[0].numel() + (convolution.bias is not None))

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, 3, 64, 128))
    assert summary(network, (64, 128)).gflops == pytest.approx(operations / 1e9, rel=1e-9)
    assert summary(network).parameters_fused == count_parameters(network)


def test_layers_of_v4_s() -> None:
    """Specification model.md section 2, the column of parameters."""
    described = summary(architecture("yolov5s"))
    expected = [
        *(3520, 18560, 18816, 73984, 156928, 295424, 625152, 1180672, 656896, 1182720, 131584, 0, 0, 361984),
        *(33024, 0, 0, 90880, 147712, 0, 296448, 590336, 0, 1182720, 229245),
    ]
    assert [layer.parameters for layer in described.layers] == expected
    assert sum(expected) == described.parameters
    assert described.layers[24].stride == (8, 16, 32)
    assert described.layers[24].output_channels == 255
    assert described.layers[16].source == (-1, 4)


def test_layers_of_v1_s() -> None:
    """Specification model.md section 8, the v1.0 table."""
    expected = [
        *(3520, 18560, 19904, 73984, 161152, 295424, 641792, 1180672, 656896, 1248768, 131584, 0, 0, 378624),
        *(33024, 0, 0, 95104, 32895, 147712, 0, 313088, 65535, 590336, 0, 1248768, 130815, 0),
    ]
    assert [layer.parameters for layer in summary(architecture("yolov5s@v1.0")).layers] == expected


def test_layers_of_v7_n6() -> None:
    """Specification model.md section 8, the P6 table."""
    expected = [
        *(1760, 4672, 4800, 18560, 29184, 73984, 156928, 221568, 167040, 442880, 296448, 164608, 49536, 0, 0),
        *(
            203904,
            24832,
            0,
            0,
            90880,
            8320,
            0,
            0,
            22912,
            36992,
            0,
            74496,
            147712,
            0,
            179328,
            332160,
            0,
            329216,
        ),
        164220,
    ]
    assert [layer.parameters for layer in summary(architecture("yolov5n6@v7.0")).layers] == expected


def test_json() -> None:
    facts = json.loads(json.dumps(summary(architecture("yolov5s@v1.0")).to_json()))
    assert list(facts) == [
        *("name", "release", "parameters", "parameters_fused", "gflops"),
        *("classes", "strides", "anchors", "layers"),
    ]
    assert (facts["name"], facts["release"], facts["classes"]) == ("yolov5s", "v1.0", 80)
    assert facts["strides"] == [32, 16, 8]
    assert facts["anchors"][0] == [[116, 90], [156, 198], [373, 326]]
    assert facts["layers"][18] == {
        "index": 18,
        "source": [-1],
        "module": "Conv2d",
        "arguments": ["na * (nc + 5)", 1, 1],
        "output_channels": 255,
        "stride": 8,
        "parameters": 32895,
    }


def test_tiny_is_tiny() -> None:
    assert 50_000 <= summary(architecture("tiny", classes=3)).parameters <= 110_000
