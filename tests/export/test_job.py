import numpy as np
import onnx
import openvino
import pytest
import torch
from onnx import numpy_helper

from tests.checkpoint.contracts import small_contract
from tests.model.lively import lively_detector
from vedette.checkpoint.feature_maps import FeatureMap, FeatureMaps
from vedette.export.formats import FORMATS
from vedette.export.job import ExportJob
from vedette.model.detector import build_detector

NORMAL = float(np.finfo(np.float16).smallest_normal)
SHOWN = FeatureMaps((17, 20, 23), (FeatureMap(4, ("backbone.p3",), 32, 8),))


def test_the_network_is_what_the_contract_says():
    job = ExportJob(lively_detector(), small_contract(output="planes", features=SHOWN))
    network = job.network()
    assert (network.output, network.layers) == ("planes", (4,))
    assert network.dtype == torch.float32
    assert ExportJob(lively_detector(), small_contract()).network().layers == ()


def first_weights(path):
    """Of the first convolution of a file, float16."""
    if path.is_dir():
        model = openvino.Core().read_model(next(path.glob("*.xml")))
        kinds = [
            operation for operation in model.get_ordered_ops() if operation.get_type_name() == "Convolution"
        ]
        source = kinds[0].input_value(1).get_node()
        while source.get_type_name() != "Constant":
            source = source.input_value(0).get_node()
        return source.data
    graph = onnx.load(path).graph
    convolution = next(node for node in graph.node if node.op_type == "Conv")
    return next(numpy_helper.to_array(t) for t in graph.initializer if t.name == convolution.input[1])


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_first_weights_of_half_precision_files_are_normal_numbers(name, tmp_path):
    """Divided by 255 they would be among those that many processors take for zero."""
    detector = build_detector("tiny", classes=2)
    job = ExportJob(detector, small_contract(precision="fp16"))
    path = FORMATS[name].path_for(tmp_path / "small.safetensors", None)
    FORMATS[name].writer()(job, path)
    weights = first_weights(path)
    assert weights.dtype == np.float16
    stem = next(tensor for tensor in detector.state_dict().values() if tensor.ndim == 4).numpy()
    without = (np.abs(stem) / 255 < NORMAL).mean()
    assert without > 0.1, "the control"
    assert (np.abs(weights) < NORMAL).mean() < without / 20
