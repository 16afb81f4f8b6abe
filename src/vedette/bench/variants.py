"""What is timed: every installed runtime, in every number format it has, as files that were verified."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vedette.checkpoint.shipped import DEFAULT as DEFAULT_WEIGHTS
from vedette.checkpoint.shipped import shipped_file
from vedette.config.bench import BenchConfig
from vedette.config.export import ExportConfig
from vedette.core.device import cpu_has_bf16, select_device
from vedette.errors import MissingExtraError, UsageError, VedetteError, nearest
from vedette.export.formats import FORMATS, check_features, find_format
from vedette.export.run import export

PYTORCH = "pytorch"
_CANNOT_RUN_EVERYWHERE = frozenset({"coreml"})
_PRECISIONS = ("float32", "bf16", "fp16", "int8")

Progress = Callable[[str], None]
"""Told what is done."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One runtime in one number format with one batch size.

    Attributes:
        format: "pytorch", or an export format.
        precision: number format of the network.
        batch_size: pictures at once.
        path: what to open; None if there is nothing to run.
        problem: why there is nothing; "" if there is.
        compile: through torch.compile.
    """

    format: str
    precision: str
    batch_size: int
    path: Path | None = None
    problem: str = ""
    compile: bool = False

    @property
    def name(self) -> str:
        """For tables and plots."""
        batch = f", batch {self.batch_size}" if self.batch_size > 1 else ""
        compiled = ", compiled" if self.compile else ""
        return f"{self.format} {self.precision}{compiled}{batch}"


def weights_file(weights: str) -> Path:
    """The checkpoint meant; empty: the shipped one."""
    path = Path(weights or DEFAULT_WEIGHTS)
    return path if path.exists() else shipped_file(str(path)) or path


def installed_formats() -> tuple[str, ...]:
    """PyTorch and the export formats that can be written and run here."""
    names = [PYTORCH]
    for name, chosen in FORMATS.items():
        try:
            chosen.writer()
        except MissingExtraError:
            continue
        if name not in _CANNOT_RUN_EVERYWHERE:
            names.append(name)
    return tuple(names)


def planned(config: BenchConfig) -> list[Variant]:
    """What the configuration asks for, not written yet; what a format cannot do is there with the reason.

    Raises:
        UsageError: a format does not exist; int8 is asked for without data.
    """
    formats = config.formats or installed_formats()
    known = (PYTORCH, *FORMATS)
    for name in formats:
        if name not in known:
            raise UsageError("no such format", where=f"--format {name:.40}", fix=nearest(name[:40], known))
    if "int8" in config.precisions and not config.data:
        raise UsageError(
            "int8 needs pictures to calibrate on", where="--precision int8", fix="give --data, too"
        )
    precisions = config.precisions or _usual_precisions(config)
    variants = [
        Variant(
            name, precision, batch_size, problem=_refusal(name, precision, config.device), compile=compile
        )
        for name in dict.fromkeys(formats)
        for precision in dict.fromkeys(precisions)
        for compile in ((False, True) if name == PYTORCH and config.compile else (False,))
        for batch_size in dict.fromkeys(config.batch_sizes)
    ]
    # Of number formats that nobody named, those that a runtime does not have are no news.
    return [variant for variant in variants if config.precisions or not variant.problem]


def written(
    variants: Sequence[Variant], config: BenchConfig, folder: Path, progress: Progress
) -> list[Variant]:
    """The variants with their files, exported and verified; one that fails has the reason instead."""
    weights = weights_file(config.weights)
    done = []
    for variant in variants:
        if variant.problem:
            done.append(variant)
        elif variant.format == PYTORCH:
            done.append(replace(variant, path=weights))
        else:
            progress(f"exporting {variant.name}")
            done.append(_exported(variant, weights, config, folder))
    return done


def _exported(variant: Variant, weights: Path, config: BenchConfig, folder: Path) -> Variant:
    try:
        report = export(
            ExportConfig(
                weights=str(weights),
                formats=(variant.format,),
                precision=variant.precision,
                image_size=config.image_size,
                batch_size=variant.batch_size,
                data=config.data if variant.precision == "int8" else "",
                output=str(folder / f"{variant.precision}-batch{variant.batch_size}"),
                keep_differing=variant.precision == "int8",
            )
        )
    except VedetteError as error:
        return replace(variant, problem=str(error))
    (result,) = report.formats
    if result.path is None:
        return replace(variant, problem=str(result.error))
    return replace(variant, path=result.path)


def _usual_precisions(config: BenchConfig) -> tuple[str, ...]:
    precisions = ["float32"]
    if cpu_has_bf16():
        precisions.append("bf16")
    if str(select_device(config.device)).startswith("cuda"):
        precisions.append("fp16")
    if config.data:
        precisions.append("int8")
    return tuple(precisions)


def _refusal(name: str, precision: str, device: str) -> str:
    """Why a format cannot be in a number format; "" if it can."""
    if name == PYTORCH:
        if precision == "int8":
            return "PyTorch runs checkpoints in floating point only"
        if precision == "fp16" and str(select_device(device)) == "cpu":
            return "fp16 needs a GPU"
        return ""
    try:
        check_features(find_format(name), (precision,))
        find_format(name).writer()
    except VedetteError as error:
        return error.fix or str(error)
    return ""
