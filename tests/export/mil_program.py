"""An ML program run without Core ML: the few operations that detectors are made of, by torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import coremltools
import numpy as np
import torch
from coremltools.converters.mil.frontend.milproto.load import load
from torch.nn import functional


def run_package(path: Path, frames: np.ndarray) -> list[np.ndarray]:
    """Outputs of a package for frames uint8 [1, H, W, 3], computed in float32.

    Raises:
        KeyError: it holds an operation that is not known here.
    """
    return run_program(load_package(path), frames)


def load_package(path: Path) -> Any:
    """The program of a package."""
    spec = coremltools.models.MLModel(str(path), skip_model_load=True).get_spec()
    weights = path / "Data" / "com.apple.CoreML" / "weights"
    return load(spec, specification_version=spec.specificationVersion, file_weights_dir=str(weights))


def run_program(program: Any, frames: np.ndarray) -> list[np.ndarray]:
    """As :func:`run_package`, of a program that was loaded."""
    function = program.functions["main"]
    (name,) = function.inputs
    values: dict[str, Any] = {name: torch.from_numpy(frames).permute(0, 3, 1, 2).float()}
    for operation in function.operations:
        if operation.op_type != "const":
            found = _run(operation, values)
            values[operation.outputs[0].name] = found
    return [values[output.name].numpy() for output in function.outputs]


def _run(operation: Any, values: dict[str, Any]) -> torch.Tensor:
    def get(name: str) -> Any:
        source = operation.inputs[name]
        sources = source if isinstance(source, (list, tuple)) else [source]
        found = [
            values[item.name] if item.name in values else torch.as_tensor(np.asarray(item.val))
            for item in sources
        ]
        return found if isinstance(source, (list, tuple)) else found[0]

    def plain(name: str) -> Any:
        return operation.inputs[name].val

    return _OPERATIONS[operation.op_type](get, plain)


def _convolve(get: Any, plain: Any) -> torch.Tensor:
    image, pads = get("x"), [0] * 4
    if plain("pad_type") == "custom":
        top, bottom, left, right = plain("pad").tolist()
        pads = [left, right, top, bottom]
    weight, bias = get("weight").float(), get("bias").float()
    strides, dilations = tuple(plain("strides").tolist()), tuple(plain("dilations").tolist())
    return functional.conv2d(
        functional.pad(image, pads), weight, bias, strides, 0, dilations, int(plain("groups"))
    )


def _max_pool(get: Any, plain: Any) -> torch.Tensor:
    pads = [0] * 4
    if plain("pad_type") == "custom":
        top, bottom, left, right = plain("pad").tolist()
        pads = [left, right, top, bottom]
    padded = functional.pad(get("x"), pads, value=-torch.inf)
    return functional.max_pool2d(
        padded, tuple(plain("kernel_sizes").tolist()), tuple(plain("strides").tolist())
    )


def _enlarge(get: Any, plain: Any) -> torch.Tensor:
    factors = (float(plain("scale_factor_height")), float(plain("scale_factor_width")))
    return functional.interpolate(get("x"), scale_factor=factors, mode="nearest")


_OPERATIONS = {
    "add": lambda get, _: get("x") + get("y"),
    "cast": lambda get, _: get("x").float(),
    "clip": lambda get, plain: get("x").clamp(float(plain("alpha")), float(plain("beta"))),
    "concat": lambda get, plain: torch.cat(get("values"), int(plain("axis"))),
    "conv": _convolve,
    "leaky_relu": lambda get, plain: functional.leaky_relu(get("x"), float(plain("alpha"))),
    "max_pool": _max_pool,
    "mul": lambda get, _: get("x") * get("y"),
    "sigmoid_hard": lambda get, plain: (get("x") * float(plain("alpha")) + float(plain("beta"))).clamp(0, 1),
    "silu": lambda get, _: functional.silu(get("x")),
    "thresholded_relu": lambda get, plain: get("x") * (get("x") >= float(plain("alpha"))),
    "upsample_nearest_neighbor": _enlarge,
}
