"""Timing of several variants on the same pictures, in turn, so that what else a machine does meets all alike."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vedette.bench.variants import PYTORCH, Variant
from vedette.core.types import FloatArray, SizeHW
from vedette.data.images import decode_image
from vedette.infer.predictor import Predictor
from vedette.infer.sources import Source, SourceItem
from vedette.infer.stream import StreamSettings, stream

STAGES = ("decode", "preprocess", "inference", "postprocess", "total")
PERCENTILES = (5, 50, 95)

_WARM_ROUNDS = 3
_THROUGHPUT_SECONDS = 2.0
_CHILD_SECONDS = 300.0

# An empty entry is the working directory, where a stranger's `torch.py` may lie.
_START = (
    "import sys; sys.path[:] = [place for place in sys.path if place]; "
    "from vedette.bench.child import main; sys.exit(main(sys.argv[1:]))"
)


@dataclass(frozen=True, slots=True)
class Timing:
    """What one variant took.

    Attributes:
        milliseconds: by stage, (5, 50, 95) percentiles a picture: ``decode`` (bytes to pixels), ``preprocess``,
            ``inference``, ``postprocess`` and their ``total``, from bytes in memory to boxes.
        pictures_per_second: files to boxes, with reading ahead and several lanes, as ``vedette detect`` goes through
            a folder.
    """

    milliseconds: Mapping[str, tuple[float, float, float]]
    pictures_per_second: float


@dataclass(frozen=True, slots=True)
class ColdStart:
    """A process of its own that detects in one picture.

    Attributes:
        first_box_seconds: from its start until it has the boxes; the best of several.
        peak_mb: most memory it held, in 10^6 bytes; None where the system does not say.
    """

    first_box_seconds: float
    peak_mb: float | None


def latencies_in_turn(
    predictors: Mapping[Variant, Predictor],
    files: Sequence[Path],
    rounds: int,
    progress: Callable[[int, int], None],
) -> dict[Variant, dict[str, tuple[float, float, float]]]:
    """``Timing.milliseconds`` of predictors on picture files.

    Each round every variant handles one batch, from bytes in memory to boxes; the first rounds do not count.

    Args:
        predictors: what to time, ready.
        files: pictures.
        rounds: that count.
        progress: told after each round: how many, of how many.
    """
    encoded = [path.read_bytes() for path in files]
    samples: dict[Variant, list[list[float]]] = {variant: [] for variant in predictors}
    for number in range(_WARM_ROUNDS + rounds):
        for variant, predictor in predictors.items():
            batch = [
                encoded[(number * variant.batch_size + place) % len(encoded)]
                for place in range(variant.batch_size)
            ]
            spent = _one_batch(predictor, batch)
            if number >= _WARM_ROUNDS:
                samples[variant].append(spent)
        progress(number + 1, _WARM_ROUNDS + rounds)
    return {variant: _percentiles(np.array(spent)) for variant, spent in samples.items()}


def _one_batch(predictor: Predictor, batch: Sequence[bytes]) -> list[float]:
    """Milliseconds a picture of every stage."""
    picture_format = predictor.letterbox.picture_format
    prepared = []
    for data in batch:
        started = time.perf_counter()
        image = decode_image(data, picture_format=picture_format)
        decoded = (time.perf_counter() - started) * 1000.0
        prepared.append(predictor.prepare(image, decode_milliseconds=decoded))
    found = predictor.detect(prepared)
    stages = [float(np.mean([one.milliseconds[stage] for one in found])) for stage in STAGES[:-1]]
    return [*stages, sum(stages)]


def _percentiles(samples: FloatArray) -> dict[str, tuple[float, float, float]]:
    values = np.percentile(samples, PERCENTILES, axis=0)  # [3, stages]
    return {
        stage: (float(values[0, place]), float(values[1, place]), float(values[2, place]))
        for place, stage in enumerate(STAGES)
    }


def pictures_per_second(predictor: Predictor, files: Sequence[Path], *, batch_size: int, lanes: int) -> float:
    """``Timing.pictures_per_second``: through all files again and again, for some seconds."""
    one_pass = [SourceItem(path.as_posix(), path) for path in files]
    settings = StreamSettings(batch_size=batch_size, workers=2, lanes=lanes)
    pictures, started = 0, time.perf_counter()
    items = tuple(one_pass * max(1, 32 // len(one_pass)))
    while (spent := time.perf_counter() - started) < _THROUGHPUT_SECONDS:
        pictures += sum(1 for _ in stream(Source(items, ()), predictor, settings))
    return pictures / spent


def cold_start(
    variant: Variant, picture: Path, *, device: str = "", image_size: SizeHW | None = None, tries: int = 2
) -> ColdStart | None:
    """Detect in one picture in a process of its own; None if that fails."""
    results = [_cold_start_once(variant, picture, device, image_size) for _ in range(tries)]
    good = [result for result in results if result is not None]
    return min(good, key=lambda result: result.first_box_seconds) if good else None


def _cold_start_once(
    variant: Variant, picture: Path, device: str, image_size: SizeHW | None
) -> ColdStart | None:
    precision = variant.precision if variant.format == PYTORCH else "float32"  # a file has its own
    how = "compile" if variant.compile else ""
    arguments = [str(variant.path), str(picture), precision, device, how, *map(str, image_size or ())]
    started = time.perf_counter()
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", _START, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=dict(os.environ),
        )
    except OSError:
        return None
    stuck = threading.Timer(_CHILD_SECONDS, process.kill)
    stuck.start()
    with process:
        assert process.stdout is not None
        first = process.stdout.readline()
        spent = time.perf_counter() - started
        peak = process.stdout.read()
    stuck.cancel()
    if process.returncode != 0 or not first.startswith("boxes"):
        return None
    return ColdStart(spent, float(peak) if peak.strip() else None)
