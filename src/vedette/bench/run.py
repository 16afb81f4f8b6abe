"""``vedette bench``: a checkpoint in; how fast it is here on every runtime out."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2

from vedette.bench.timing import ColdStart, Timing, cold_start, latencies_in_turn, pictures_per_second
from vedette.bench.variants import PYTORCH, Variant, planned, weights_file, written
from vedette.checkpoint.atomic import write_atomic
from vedette.config.bench import BenchConfig
from vedette.config.evaluate import EvaluateConfig
from vedette.config.run_folder import create_run_folder
from vedette.core.device import cpu_threads, lane_threads, thread_count
from vedette.data.description import load_description
from vedette.data.index import load_index
from vedette.data.synthetic import draw_picture
from vedette.errors import EXIT_DONE, EXIT_REFUSED, EXIT_SOME_FAILED, DataError, VedetteError
from vedette.evaluate.run import evaluate
from vedette.infer.assemble import Assembly, assemble_whole
from vedette.infer.backends.files import gains_by_lanes
from vedette.infer.lanes import lanes_on, usual_lanes
from vedette.infer.predictor import Predictor

Progress = Callable[[str], None]
"""Told what is done."""

_DRAWN_HW = (720, 1280)
_DRAWN_COUNT = 8
_JPEG_QUALITY = 92


@dataclass(frozen=True, slots=True)
class BenchRow:
    """What came out for one variant.

    Attributes:
        variant: what was timed; with the reason where nothing could be.
        runs_in: number format that the runtime computed in.
        timing: milliseconds and pictures a second.
        cold: a process of its own.
        file_mb: size of the file, in 10^6 bytes.
        ap: 0..1; None without data.
        ap_change: against PyTorch in float32.
    """

    variant: Variant
    runs_in: str = ""
    timing: Timing | None = None
    cold: ColdStart | None = None
    file_mb: float | None = None
    ap: float | None = None
    ap_change: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        cold = self.cold
        return {
            "format": self.variant.format,
            "precision": self.variant.precision,
            "compile": self.variant.compile,
            "batch_size": self.variant.batch_size,
            "problem": self.variant.problem,
            "runs_in": self.runs_in,
            "milliseconds": None
            if self.timing is None
            else {
                stage: dict(zip(("p5", "p50", "p95"), values, strict=True))
                for stage, values in self.timing.milliseconds.items()
            },
            "pictures_per_second": None if self.timing is None else self.timing.pictures_per_second,
            "first_box_seconds": None if cold is None else cold.first_box_seconds,
            "peak_mb": None if cold is None else cold.peak_mb,
            "file_mb": self.file_mb,
            "ap": self.ap,
            "ap_change": self.ap_change,
        }


@dataclass(frozen=True, slots=True)
class BenchReport:
    """What came out.

    Attributes:
        folder: where the figures and the plot are.
        protocol: what was timed how, on which machine.
        rows: one a variant.
    """

    folder: Path
    protocol: dict[str, Any]
    rows: tuple[BenchRow, ...]

    @property
    def exit_code(self) -> int:
        """0; 1 if some variants could not be run; 2 if none could."""
        timed = sum(row.timing is not None for row in self.rows)
        if timed == len(self.rows):
            return EXIT_DONE
        return EXIT_SOME_FAILED if timed else EXIT_REFUSED

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"protocol": self.protocol, "rows": [row.to_dict() for row in self.rows]}


def bench(config: BenchConfig, progress: Progress | None = None) -> BenchReport:
    """Export, verify and time a checkpoint on every runtime asked for; write ``bench.json`` and a plot.

    Raises:
        UsageError: a format does not exist, or a setting makes no sense.
        CheckpointError: the checkpoint is not accepted.
        DataError: a picture or the data set cannot be used.
        WriteError: a result cannot be written.
    """
    tell = progress or _silent
    variants = planned(config)
    weights = weights_file(config.weights)
    Predictor.from_file(weights, device=config.device)  # refused before anything is written
    folder = create_run_folder(config.project, config.name, config.exist_ok)
    with tempfile.TemporaryDirectory(prefix="vedette-bench-") as scratch, cpu_threads(config.threads):
        files = timed_pictures(config.pictures, Path(scratch))
        ready = written(variants, config, Path(scratch), tell)
        predictors, ready = opened(ready, config)
        latencies = latencies_in_turn(
            predictors, files, config.rounds, lambda done, count: tell(f"timing, round {done} of {count}")
        )
        timings = {
            variant: Timing(latencies[variant], _folder_rate(variant, predictor, files, config))
            for variant, predictor in predictors.items()
        }
        rows = []
        for variant in ready:
            tell(f"cold start of {variant.name}")
            predictor = predictors.get(variant)
            rows.append(_row(variant, predictor, timings.get(variant), files[0], config))
        rows = _with_ap(rows, predictors, config, tell)
    report = BenchReport(folder, _protocol(config, weights, files, predictors), tuple(rows))
    text = json.dumps(report.to_dict(), indent=1, allow_nan=False).encode("ascii")
    write_atomic(folder / "bench.json", text)
    if config.json_path:
        write_atomic(Path(config.json_path), text)
    if config.plots:
        from vedette.bench.plot import plot_bench

        plot_bench(report.rows, folder)
    return report


def opened(
    variants: Sequence[Variant], config: BenchConfig
) -> tuple[dict[Variant, Predictor], list[Variant]]:
    """A predictor for each variant that has a file; those that cannot be opened get the reason."""
    predictors: dict[Variant, Predictor] = {}
    told = []
    for variant in variants:
        if variant.path is None:
            told.append(variant)
            continue
        try:
            predictors[variant] = open_variant(variant, config)
            told.append(variant)
        except VedetteError as error:
            told.append(replace(variant, path=None, problem=str(error)))
    return predictors, told


def _folder_rate(variant: Variant, predictor: Predictor, files: Sequence[Path], config: BenchConfig) -> float:
    """Pictures of a folder a second, with the lanes and batches of ``vedette detect``."""
    assert variant.path is not None
    wanted = usual_lanes(config.threads) if gains_by_lanes(variant.path) else 1
    lanes = lanes_on(predictor.backend.device, wanted, asked=0)
    if lanes == 1:
        return pictures_per_second(predictor, files, batch_size=max(variant.batch_size, 4), lanes=1)
    with cpu_threads(lane_threads(config.threads, lanes)):
        shared = open_variant(variant, config, lanes)
        return pictures_per_second(shared, files, batch_size=variant.batch_size, lanes=lanes)


def open_variant(variant: Variant, config: BenchConfig, lanes: int = 1) -> Predictor:
    """The predictor of a variant that has a file, for so many threads that call at once. Raises as ``assemble``."""
    assert variant.path is not None
    if variant.format != PYTORCH:
        return assemble_whole(Assembly(weights=(variant.path,), threads=config.threads, lanes=lanes))
    predictor = Predictor.from_file(
        variant.path,
        device=config.device,
        precision=variant.precision,  # type: ignore[arg-type]  # validated by the configuration
        compile=variant.compile,
    )
    policy = replace(
        predictor.letterbox, size_hw=config.image_size or predictor.letterbox.size_hw, shape="square"
    )
    predictor = predictor.with_settings(letterbox=policy)
    if variant.compile:  # what cannot be compiled is told now, not while others are timed
        predictor.backend.warm_up(predictor.letterbox.size_hw, variant.batch_size)
    return predictor


def _row(
    variant: Variant, predictor: Predictor | None, timing: Timing | None, picture: Path, config: BenchConfig
) -> BenchRow:
    if predictor is None or variant.path is None:
        return BenchRow(variant)
    device = config.device if variant.format == PYTORCH else ""
    size = config.image_size if variant.format == PYTORCH else None
    cold = cold_start(variant, picture, device=device, image_size=size)
    files = [variant.path] if variant.path.is_file() else list(variant.path.rglob("*"))
    file_mb = sum(file.stat().st_size for file in files if file.is_file()) / 1e6
    return BenchRow(variant, predictor.backend.precision, timing, cold, file_mb)


def _with_ap(
    rows: list[BenchRow], predictors: dict[Variant, Predictor], config: BenchConfig, tell: Progress
) -> list[BenchRow]:
    """The rows with their AP, if there is a data set."""
    if not config.data:
        return rows
    index = load_index(load_description(config.data), "val")
    settings = EvaluateConfig(data=config.data)
    measured = []
    for row in rows:
        predictor = predictors.get(row.variant)
        if predictor is None:
            measured.append(row)
            continue
        tell(f"AP of {row.variant.name}")
        ap = evaluate(predictor, index, settings).numbers["ap"]
        measured.append(replace(row, ap=None if ap is None else float(ap)))
    base = next((row.ap for row in measured if _is_plain(row.variant) and row.ap is not None), None)
    return [
        replace(row, ap_change=None if base is None or row.ap is None else row.ap - base) for row in measured
    ]


def _is_plain(variant: Variant) -> bool:
    return variant.format == PYTORCH and variant.precision == "float32" and not variant.compile


def timed_pictures(names: Sequence[str], scratch: Path) -> list[Path]:
    """The files named, or drawn pictures. Raises DataError if one is not there."""
    if names:
        files = [Path(name) for name in names]
        missing = next((path for path in files if not path.is_file()), None)
        if missing is not None:
            raise DataError("is no file", where=missing, fix="give picture files to --pictures")
        return files
    folder = scratch / "pictures"
    folder.mkdir()
    files = []
    for number in range(_DRAWN_COUNT):
        image = draw_picture("bench", number, seed=0, size_hw=_DRAWN_HW).image
        path = folder / f"drawn_{number}.jpg"
        cv2.imwrite(str(path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        files.append(path)
    return files


def _protocol(
    config: BenchConfig, weights: Path, files: Sequence[Path], predictors: dict[Variant, Predictor]
) -> dict[str, Any]:
    sizes = sorted({predictor.letterbox.size_hw for predictor in predictors.values()})
    return {
        "vedette": version("vedette"),
        "weights": weights.name,
        "frame_hw": [list(size) for size in sizes],
        "pictures": len(files)
        if config.pictures
        else f"{_DRAWN_COUNT} drawn, {_DRAWN_HW[1]} x {_DRAWN_HW[0]}",
        "rounds": config.rounds,
        "threads": thread_count(config.threads),
        "lanes": usual_lanes(config.threads),  # of runtimes that gain by them
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }


def _silent(_what: str) -> None:
    """No progress is shown."""
