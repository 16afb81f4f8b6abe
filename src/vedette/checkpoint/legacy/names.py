"""The names a checkpoint of YOLOv5 may hold, and what is said about others.

Nothing depends on these lists for safety: a known name is as inert as an unknown one. They give early and clear
refusals, and keep the rest of the reader to what it understands. Source: specification ``checkpoint.md`` section 3.
"""

from __future__ import annotations

from collections.abc import Iterator

from vedette.checkpoint.legacy.limits import MAX_WALKED
from vedette.checkpoint.legacy.records import Name, Record, damaged
from vedette.checkpoint.legacy.storages import ITEM_BYTES
from vedette.errors import CheckpointError
from vedette.model.rows import MODULES

ROOTS = ("models.yolo.Model", "models.yolo.DetectionModel")
"""Classes of a detection network."""

OTHER_ROOTS = {
    "models.yolo.SegmentationModel": "segmentation",
    "models.yolo.ClassificationModel": "classification",
}
"""Classes of networks of the same releases that are no detectors."""

BLOCKS = {
    "models.common.Bottleneck": "Bottleneck",
    "models.common.BottleneckCSP": "BottleneckCSP",
    "models.common.C3": "C3",
    "models.common.Concat": "Concat",
    "models.common.Conv": "Conv",
    "models.common.DWConv": "DWConv",
    "models.common.Focus": "Focus",
    "models.common.SPP": "SPP",
    "models.common.SPPF": "SPPF",
    "models.yolo.Detect": "Detect",
    "torch.nn.modules.batchnorm.BatchNorm2d": "BatchNorm2d",
    "torch.nn.modules.batchnorm.SyncBatchNorm": "BatchNorm2d",  # of several GPUs; alone it computes the same
    "torch.nn.modules.container.ModuleList": "ModuleList",
    "torch.nn.modules.container.Sequential": "Sequential",
    "torch.nn.modules.conv.Conv2d": "Conv2d",
    "torch.nn.modules.linear.Identity": "Identity",
    "torch.nn.modules.pooling.MaxPool2d": "MaxPool2d",
    "torch.nn.modules.upsampling.Upsample": "Upsample",
}
"""Modules of published releases that vedette has, and the name each has here."""

ACTIVATIONS = {
    "models.common.Hardswish": "Hardswish",
    "torch.nn.modules.activation.ELU": "ELU",
    "torch.nn.modules.activation.GELU": "GELU",
    "torch.nn.modules.activation.Hardswish": "Hardswish",
    "torch.nn.modules.activation.LeakyReLU": "LeakyReLU",
    "torch.nn.modules.activation.Mish": "Mish",
    "torch.nn.modules.activation.ReLU": "ReLU",
    "torch.nn.modules.activation.ReLU6": "ReLU6",
    "torch.nn.modules.activation.SiLU": "SiLU",
    "utils.activations.HardSwish": "Hardswish",
    "utils.activations.Hardswish": "Hardswish",
    "utils.activations.MemoryEfficientMish": "Mish",
    "utils.activations.MemoryEfficientSwish": "SiLU",
    "utils.activations.Mish": "Mish",
    "utils.activations.SiLU": "SiLU",
    "utils.activations.Swish": "SiLU",
}
"""Activations, and the name each has here; those of ``utils.activations`` compute the same by hand."""

TENSOR_FUNCTIONS = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2")
PARAMETER_FUNCTIONS = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")
ARRAY_FUNCTIONS = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
SCALAR_FUNCTIONS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
PATHS = frozenset(
    f"{module}.{kind}"
    for module in ("pathlib", "pathlib._local")
    for kind in ("Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath")
)

_OTHERS = frozenset(
    {
        "__builtin__.set",
        "_codecs.encode",
        "argparse.Namespace",
        "builtins.set",
        "collections.OrderedDict",
        "numpy.dtype",
        "numpy.ndarray",
        "torch.Size",
        "torch.device",
        "torch.float16",
        "torch.float32",
        "torch.float64",
        "torch.int64",
    }
)
KNOWN = frozenset(
    {
        *ROOTS,
        *BLOCKS,
        *ACTIVATIONS,
        *TENSOR_FUNCTIONS,
        *PARAMETER_FUNCTIONS,
        *ARRAY_FUNCTIONS,
        *SCALAR_FUNCTIONS,
        *PATHS,
        *_OTHERS,
        *(f"torch.{kind}" for kind in ITEM_BYTES),
    }
)

_DANGEROUS_MODULES = frozenset(
    (
        "__builtin__",
        "_io",
        "_posixsubprocess",
        "_thread",
        "asyncio",
        "builtins",
        "code",
        "codeop",
        "commands",
        "ctypes",
        "functools",
        "importlib",
        "io",
        "marshal",
        "multiprocessing",
        "nt",
        "operator",
        "os",
        "pickle",
        "pip",
        "platform",
        "popen2",
        "posix",
        "pty",
        "requests",
        "runpy",
        "shutil",
        "signal",
        "site",
        "smtplib",
        "socket",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "types",
        "urllib",
        "webbrowser",
    )
)
_FAMILY = ("models.", "utils.", "torch.nn.modules.")


def check_names(root: object) -> None:
    """Refuse an object that holds a name that is not known, saying where it sits.

    Raises:
        CheckpointError: for the first such name; or for an object of too many values.
    """
    for value, place in walk(root):
        if isinstance(value, Name) and not _is_known(value):
            raise refusal(value, place)


def walk(root: object) -> Iterator[tuple[object, str]]:
    """Every value of an object once, with the place of its first occurrence as attributes and keys.

    Raises:
        CheckpointError: after too many values.
    """
    waiting: list[tuple[object, str]] = [(root, "")]
    seen: set[int] = set()
    budget = MAX_WALKED
    while waiting:
        value, place = waiting.pop()
        budget -= 1
        if budget < 0:
            raise damaged(f"it holds more than {MAX_WALKED} values")
        yield value, place
        if not isinstance(value, Record | dict | list | tuple) or id(value) in seen:
            continue
        seen.add(id(value))
        waiting.extend(reversed(list(_parts(value, place))))


def _parts(value: object, place: str) -> Iterator[tuple[object, str]]:
    if isinstance(value, Record):
        yield value.target, place
        for part in (*value.arguments, value.state):
            yield part, place
        yield from _entries(value.items, place)
    elif isinstance(value, dict):
        yield from _entries(value, place)
    elif isinstance(value, list | tuple):
        for part in value:
            yield part, place


def _entries(values: dict[object, object], place: str) -> Iterator[tuple[object, str]]:
    for key, part in values.items():
        # How torch keeps children is no part of their place: ``model.3.cv1``, not ``model._modules.3._modules.cv1``.
        inner = isinstance(key, str) and key in ("_modules", "_parameters", "_buffers")
        step = "" if inner else str(key)[:40]
        yield part, f"{place}.{step}".strip(".")[-200:]


def _is_known(name: Name) -> bool:
    return "." not in name.attribute and name.path in KNOWN


def refusal(name: Name, place: str) -> CheckpointError:
    """The error for a name that is not known, or not known at this place."""
    path = _shown(name.path)
    if name.path in OTHER_ROOTS:
        kind = OTHER_ROOTS[name.path]
        return CheckpointError(
            f"holds a {kind} model, not a detector", where=place, fix="vedette imports detectors of boxes"
        )
    if name.module.split(".")[0] == "ultralytics":
        return CheckpointError(
            f"belongs to a later family of models ({path})",
            where=place,
            fix="vedette imports YOLOv5 v1.0 to v7.0",
        )
    if "." in name.attribute or name.module.split(".")[0] in _DANGEROUS_MODULES:
        return CheckpointError(
            f"asks to call {path}, which no checkpoint needs: it may be an attack. Nothing was run",
            where=place,
            fix="delete the file, and get the weights from a source you trust",
        )
    if name.module.startswith(_FAMILY):
        return CheckpointError(
            f"holds the module {path}, which vedette does not have",
            where=place,
            fix=f"supported are {', '.join(supported_blocks())}; docs/import.md says how to ask for more",
        )
    return CheckpointError(
        f"names {path}, which vedette does not know; nothing was run",
        where=place,
        fix="docs/import.md lists what is read and says how to ask for more",
    )


def supported_blocks() -> list[str]:
    """The modules a layer table may have."""
    return sorted(MODULES)


def _shown(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:120])
