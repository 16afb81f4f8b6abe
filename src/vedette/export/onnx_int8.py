"""ONNX with 8-bit integers: ranges measured by ONNX Runtime on calibration frames, written as standard operators."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vedette.errors import MissingExtraError

if TYPE_CHECKING:
    from onnx import ModelProto


def quantize_onnx(
    model: ModelProto, frames: NDArray[np.uint8], batch_size: int | None, raw_outputs: int | None = None
) -> ModelProto:
    """The model with convolutions on 8-bit integers; the output convolutions stay in float32.

    Args:
        model: in float32, of :func:`vedette.export.onnx.convert_onnx`.
        frames: uint8 [n, H, W, 3], like those it will see.
        batch_size: frames it takes at once; None: any.
        raw_outputs: how many of its outputs come from output convolutions; the maps of layers behind them are what
            quantised convolutions give. None: all.

    Raises:
        MissingExtraError: onnxruntime is not installed.
    """
    try:
        import onnx
        from onnxruntime import quantization
    except ImportError:
        raise MissingExtraError("onnxruntime", "export-onnx", "int8") from None
    # The quantiser works on files, and leaves its own beside them.
    with tempfile.TemporaryDirectory(prefix="vedette-int8-") as folder, _quiet():
        source, target = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        quantization.quantize_static(
            str(source),
            str(target),
            _frame_reader(quantization, frames, batch_size or 1),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=output_convolutions(model, raw_outputs),
        )
        quantized: ModelProto = onnx.load(target)
    return quantized


def output_convolutions(model: ModelProto, raw_outputs: int | None = None) -> list[str]:
    """Names of the last convolution before every output, or before the first so many."""
    maker = {name: node for node in model.graph.node for name in node.output}
    found, seen = [], set[str]()
    pending = [output.name for output in model.graph.output[:raw_outputs]]
    while pending:
        node = maker.get(pending.pop())
        if node is None or node.name in seen:
            continue
        seen.add(node.name)
        if node.op_type == "Conv":
            found.append(node.name)
        else:
            pending += node.input
    return sorted(found)


def _frame_reader(quantization: Any, frames: NDArray[np.uint8], batch_size: int) -> Any:
    """What the quantiser reads frames from: batches of the size the model takes, the last filled up."""

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # a class of an optional package
        def __init__(self) -> None:
            self._first = 0

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            batch = frames[self._first : self._first + batch_size]
            self._first += batch_size
            if not len(batch):
                return None
            missing = batch_size - len(batch)
            return {"frames": np.concatenate((batch, np.repeat(batch[-1:], missing, axis=0)))}

    return Reader()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without advice on how to prepare a model that is prepared already."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
