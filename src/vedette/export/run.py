"""``vedette export``: a checkpoint in; files of other runtimes out, each verified before it takes its place."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vedette.checkpoint.atomic import TEMPORARY_SUFFIX, replace_file, write_atomic, write_error
from vedette.checkpoint.contract import ExportContract, SourceCheckpoint, Thresholds
from vedette.checkpoint.deployable import LoadedDetector
from vedette.checkpoint.feature_maps import FeatureMaps
from vedette.checkpoint.shipped import shipped_file
from vedette.config.export import ExportConfig, VerifyConfig
from vedette.core.letterbox import LetterboxPolicy
from vedette.core.nms import NmsSettings
from vedette.core.picture_format import RGB8
from vedette.core.types import Image
from vedette.data.description import load_description
from vedette.data.index import load_index
from vedette.errors import EXIT_DONE, EXIT_REFUSED, EXIT_SOME_FAILED, ModelError, UsageError, VedetteError
from vedette.export.calibration import CalibrationSet, calibration_set
from vedette.export.feature_maps import feature_maps
from vedette.export.formats import Format, check_features, find_format
from vedette.export.golden import candidates, golden_pictures
from vedette.export.job import ExportJob
from vedette.export.on_data import DataReference, open_reference
from vedette.export.verify import Verification, verify
from vedette.infer.frame_fit import fit_to_strides

Progress = Callable[[str, str], None]
"""Told before each step: the format, and what is done."""

REPORT_NAME = "verification.json"


@dataclass(frozen=True, slots=True)
class ExportedFormat:
    """What became of one format.

    Attributes:
        format: its name.
        path: the file or folder; None if there is none.
        bytes: its size.
        seconds: to convert.
        contract: what the file says of itself.
        verification: against PyTorch; None if it came not so far.
        unverified: why it was not verified though there is a file; "" if it was.
        error: why there is no file; None if there is one.
    """

    format: str
    path: Path | None = None
    bytes: int = 0
    seconds: float = 0.0
    contract: ExportContract | None = None
    verification: Verification | None = None
    unverified: str = ""
    error: VedetteError | None = None

    @property
    def succeeded(self) -> bool:
        """Whether there is a file that finds what PyTorch finds, or that cannot be run on this system."""
        if self.unverified:
            return self.error is None
        return self.error is None and self.verification is not None and self.verification.passed


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What became of all formats."""

    formats: tuple[ExportedFormat, ...]

    @property
    def exit_code(self) -> int:
        """0; 1 if some formats failed; 2 if all did."""
        succeeded = sum(result.succeeded for result in self.formats)
        if succeeded == len(self.formats):
            return EXIT_DONE
        return EXIT_SOME_FAILED if any(result.path is not None for result in self.formats) else EXIT_REFUSED


@dataclass(frozen=True, slots=True)
class _Plan:
    """What all formats of a run share."""

    config: ExportConfig
    weights: Path
    source: SourceCheckpoint
    reference: DataReference
    letterbox: LetterboxPolicy
    pictures: tuple[Image, ...]
    calibration: CalibrationSet | None
    features: FeatureMaps | None

    @property
    def loaded(self) -> LoadedDetector:
        return self.reference.loaded


def export(config: ExportConfig, progress: Progress | None = None) -> ExportReport:
    """Export a checkpoint. A format that fails does not keep the others from being written.

    Raises:
        UsageError: something that a format cannot do was asked for; nothing is written then.
        MissingExtraError: a package for a format is not installed; likewise.
        CheckpointError: the checkpoint is not accepted.
        DataError: the data set cannot be used.
    """
    if not config.weights:
        raise UsageError("--weights is missing", where="vedette export", fix="give --weights FILE")
    formats = list({chosen.name: chosen for chosen in map(find_format, config.formats)}.values())
    for chosen in formats:
        check_features(chosen, _features(config, chosen))
        chosen.writer()
    plan = _plan(config)
    return ExportReport(tuple(_export_one(plan, chosen, progress or _silent) for chosen in formats))


def _features(config: ExportConfig, chosen: Format) -> tuple[str, ...]:
    """What is asked of a format, in the words of the table."""
    if config.precision == "int8" and not config.data:
        raise UsageError(
            "int8 needs pictures to measure ranges on", where="--precision int8", fix="give --data, too"
        )
    asked = [config.precision, _output(config, chosen)]
    asked += ["any batch size"] if config.dynamic in ("all", "batch") else []
    asked += ["any image size"] if config.dynamic in ("all", "size") else []
    asked += ["several frames at once"] if config.batch_size > 1 else []
    if config.features:
        asked.append("maps of layers")
        if asked[1] not in ("planes", "cells"):
            raise UsageError(
                f"a file that gives {asked[1]} has lost the logits that its maps would explain",
                where="--features",
                fix="leave out --nms and --outputs predictions",
            )
    return tuple(asked)


def _output(config: ExportConfig, chosen: Format) -> Any:
    return "detections" if _has_nms(config) else config.outputs or chosen.output


def _has_nms(config: ExportConfig) -> bool:
    return config.nms or config.agnostic_nms


def _plan(config: ExportConfig) -> _Plan:
    weights = Path(config.weights)
    if not weights.exists():
        weights = shipped_file(config.weights) or weights
    reference = open_reference(weights, config.data, config.split)
    loaded = reference.loaded
    if loaded.letterbox.picture_format != RGB8:
        raise ModelError(
            "takes other pictures than 8-bit RGB, which exported files do not",
            where=weights,
            fix="run the checkpoint",
        )
    letterbox = replace(loaded.letterbox, size_hw=config.image_size or loaded.letterbox.size_hw)
    letterbox = fit_to_strides(letterbox, loaded.detector.strides)
    if config.dynamic not in ("all", "size") and letterbox.shape == "minimal":
        letterbox = replace(letterbox, shape="square")
    calibration = None
    if config.precision == "int8":
        train = load_index(load_description(config.data), "train")
        calibration = calibration_set(train, letterbox, config.calibration_pictures)
    pictures = tuple(candidates(config.pictures, reference.index, letterbox))
    source = SourceCheckpoint(weights.name, _sha256(weights))
    features = feature_maps(loaded.detector, config.features) if config.features else None
    return _Plan(config, weights, source, reference, letterbox, pictures, calibration, features)


def _export_one(plan: _Plan, chosen: Format, progress: Progress) -> ExportedFormat:
    try:
        return _written_and_verified(plan, chosen, progress)
    except VedetteError as error:
        return ExportedFormat(chosen.name, error=error)
    except Exception as error:  # a converter of a third party: whatever it raises, the other formats go on
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return ExportedFormat(
            chosen.name, error=ModelError(f"the converter failed ({text})", where=chosen.name)
        )


def _written_and_verified(plan: _Plan, chosen: Format, progress: Progress) -> ExportedFormat:
    config = plan.config
    contract = _contract(plan, chosen)
    target = chosen.path_for(plan.weights, _output_folder(plan))
    progress(chosen.name, "finding boxes with PyTorch")
    golden = golden_pictures(plan.pictures, plan.reference.predictor, contract)
    contract = replace(contract, golden=golden)
    contract.check(chosen.name)
    frames = None if plan.calibration is None else plan.calibration.frames
    job = ExportJob(plan.loaded.detector, contract, config.opset, frames)
    with _folder_beside(target) as folder:
        progress(chosen.name, "converting")
        started = time.perf_counter()
        made = folder / target.name
        chosen.writer()(job, made)
        seconds = time.perf_counter() - started
        if chosen.systems and sys.platform not in chosen.systems:
            size = _size(made)
            _put_in_place(made, target)
            return ExportedFormat(
                chosen.name, target, size, seconds, contract, unverified=_elsewhere(chosen, target)
            )
        progress(chosen.name, "verifying")
        checks = VerifyConfig(file=str(made), device=config.device, threads=config.threads)
        verification = verify(checks, plan.reference)
        result = ExportedFormat(chosen.name, None, _size(made), seconds, contract, verification)
        report = json.dumps(verification.to_dict(), indent=1).encode("ascii")
        if not verification.passed and not config.keep_differing:
            return replace(result, error=_differs(verification, target))
        if chosen.is_folder:
            write_atomic(made / REPORT_NAME, report)
        _put_in_place(made, target)
    if not chosen.is_folder:
        write_atomic(target.with_name(f"{target.name}.{REPORT_NAME}"), report)
    return replace(result, path=target)


def _contract(plan: _Plan, chosen: Format) -> ExportContract:
    config, head = plan.config, plan.loaded.detector.head
    open_size, open_batch = config.dynamic in ("all", "size"), config.dynamic in ("all", "batch")
    nms = NmsSettings(
        conf_threshold=config.conf_threshold,
        iou_threshold=config.iou_threshold,
        agnostic=config.agnostic_nms,
        max_detections=config.max_detections,
    )
    return ExportContract(
        format=chosen.name,
        class_names=plan.loaded.class_names,
        letterbox=plan.letterbox,
        strides=tuple(int(stride) for stride in head.strides),
        anchors_px=tuple(
            tuple((float(width), float(height)) for width, height in level)
            for level in head.anchors_px().tolist()
        ),
        input=chosen.input,
        output=_output(config, chosen),
        precision=config.precision,
        frame_hw=None if open_size else plan.letterbox.size_hw,
        batch_size=None if open_batch else config.batch_size,
        nms=nms if _has_nms(config) else None,
        thresholds=Thresholds(config.conf_threshold, config.iou_threshold, config.max_detections),
        source=plan.source,
        vedette_version=version("vedette"),
        calibration_sha256=None if plan.calibration is None else plan.calibration.sha256,
        features=plan.features,
    )


def _output_folder(plan: _Plan) -> Path | None:
    if plan.config.output:
        return Path(plan.config.output)
    # Weights that ship with the package lie in a folder that is not the user's.
    return None if Path(plan.config.weights).exists() else Path()


def _elsewhere(chosen: Format, target: Path) -> str:
    names = " or ".join("macOS" if system == "darwin" else system for system in chosen.systems)
    return f"its runtime is for {names} only; verify it there: vedette verify {target.name}"


def _differs(verification: Verification, target: Path) -> ModelError:
    return ModelError(
        f"finds other boxes than PyTorch: {'; '.join(verification.problems)}",
        where=target,
        fix="choose another precision, or keep it with --keep-differing",
    )


def _put_in_place(made: Path, target: Path) -> None:
    """Rename over what was there before; of a folder the old one is moved away first, and back if that fails."""
    try:
        if not target.is_dir():
            replace_file(made, target)
            return
        former = made.parent / "former"
        replace_file(target, former)
        try:
            replace_file(made, target)
        except OSError:
            replace_file(former, target)
            raise
    except OSError as error:
        raise write_error(error, target) from error


@contextmanager
def _folder_beside(target: Path) -> Iterator[Path]:
    """A folder on the disk of the target that is gone afterwards."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        name = tempfile.mkdtemp(TEMPORARY_SUFFIX, f".{target.name[:40]}.", target.parent)
    except OSError as error:
        raise write_error(error, target) from error
    try:
        yield Path(name)
    finally:
        shutil.rmtree(name, ignore_errors=True)


def _size(path: Path) -> int:
    files: Sequence[Path] = [path] if path.is_file() else list(path.rglob("*"))
    return sum(file.stat().st_size for file in files if file.is_file())


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _silent(_format: str, _step: str) -> None:
    """No progress is shown."""
