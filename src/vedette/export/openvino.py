"""OpenVINO: the network as a model of its intermediate representation, in float32 or with int8 convolutions."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from vedette.checkpoint.contract import CONTRACT_NAME
from vedette.core.silent_import import import_silently
from vedette.core.types import SizeHW
from vedette.errors import MissingExtraError
from vedette.export.job import ExportJob
from vedette.model.frame_detector import FrameDetector

if TYPE_CHECKING:
    from openvino import Model


def write(job: ExportJob, path: Path) -> None:
    """Write a folder with the graph, the weights and, among the graph's own information, the contract.

    float32 and bf16 differ in what the file says of its arithmetic; fp16 also halves the weights.

    Raises:
        MissingExtraError: a package is not installed.
    """
    contract = job.contract
    network = job.network()
    model = convert_openvino(network, contract.batch_size, contract.frame_hw)
    if job.calibration is not None:
        count = contract.batch_size or 1
        frames = [job.calibration[first : first + count] for first in range(0, len(job.calibration), count)]
        whole = [batch for batch in frames if len(batch) == count]
        model = quantize_openvino(model, whole, raw_outputs=len(contract.strides))
    import openvino

    model.set_rt_info(contract.to_json(), CONTRACT_NAME)
    path.mkdir()
    name = path.name.removesuffix("_openvino_model")
    openvino.save_model(model, path / f"{name}.xml", compress_to_fp16=contract.precision == "fp16")


def convert_openvino(
    network: FrameDetector, batch_size: int | None = None, frame_hw: SizeHW | None = None
) -> Model:
    """The network as an OpenVINO model with the input ``frames`` and the outputs ``network.output_names``.

    The weights stay in float32; the precision of the arithmetic is a choice of whoever compiles the model. A model of
    any shape is 11% slower than one of a fixed shape; ``Model.reshape`` turns one into the other before compiling,
    in no time.

    Args:
        network: in float32, on the CPU.
        batch_size: of the frames; None means any.
        frame_hw: their size; None means any multiples of ``network.max_stride``.

    Raises:
        MissingExtraError: openvino is not installed.
    """
    try:
        import_silently("openvino")
        from openvino import PartialShape, Type
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
        from openvino.passes import ConstantFolding, Manager
    except ImportError:
        raise MissingExtraError("openvino", "export-openvino", "export to openvino") from None
    # openvino.convert_model would report to its makers that it was called, if somebody else has imported it.
    frontend = FrontEndManager().load_by_framework("pytorch")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("ignore", ".*torch.jit", DeprecationWarning)
        decoder = TorchScriptPythonDecoder(network, example_input=_example(network), shared_memory=False)
    model: Model = frontend.convert(frontend.load(decoder))
    height, width = frame_hw or (-1, -1)
    model.input(0).get_node().set_element_type(Type.u8)
    model.input(0).get_tensor().set_names({"frames"})
    model.reshape(PartialShape([batch_size or -1, height, width, network.channels]))
    for output, name in zip(model.outputs, network.output_names, strict=True):
        output.get_tensor().set_names({name})
    passes = Manager()
    passes.register_pass(ConstantFolding())
    passes.run_passes(model)
    return model


def quantize_openvino(
    model: Model,
    frames: Sequence[NDArray[np.uint8]],
    *,
    float_outputs: bool = True,
    raw_outputs: int | None = None,
) -> Model:
    """A model whose convolutions work on 8-bit integers, with ranges measured on frames.

    Args:
        model: as of ``convert_openvino``, with a fixed frame size or any.
        frames: uint8 [B, H, W, channels] each, like those the model will see.
        float_outputs: leave the output convolutions as they are.
        raw_outputs: how many outputs of the model come from these; None: all.

    Raises:
        MissingExtraError: nncf is not installed.
    """
    nncf = _nncf()
    ignored = nncf.IgnoredScope(names=_output_convolutions(model, raw_outputs)) if float_outputs else None
    with _quiet():
        quantized: Model = nncf.quantize(
            model,
            nncf.Dataset(list(frames)),
            # Symmetric weights and asymmetric activations: SiLU gives a little less than nothing, and then a lot.
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(frames),
            ignored_scope=ignored,
        )
    return quantized


def _example(network: FrameDetector) -> torch.Tensor:
    """The smallest frames that tell height from width."""
    return torch.zeros(1, network.max_stride, 2 * network.max_stride, network.channels, dtype=torch.uint8)


def _output_convolutions(model: Model, raw_outputs: int | None) -> list[str]:
    """Names of the last convolution before each of the first outputs."""
    names = []
    pending = [result.input_value(0).get_node() for result in model.get_results()[:raw_outputs]]
    seen = set()
    while pending:
        node = pending.pop()
        if node.get_friendly_name() in seen:
            continue
        seen.add(node.get_friendly_name())
        if node.get_type_name() == "Convolution":
            names.append(node.get_friendly_name())
        else:
            pending += [value.get_node() for value in node.input_values()]
    return sorted(names)


def _nncf() -> Any:
    """The package. Raises MissingExtraError."""
    try:
        return import_silently("nncf")
    except ImportError:
        raise MissingExtraError("nncf", "export-openvino", "export to int8 for openvino") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars of the package, which has no switch for them, and its remarks on single layers."""
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with _no_output():
            yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _no_output() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
