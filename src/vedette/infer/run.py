"""``vedette detect``: source to predictor to writers."""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from vedette.checkpoint.atomic import write_atomic
from vedette.checkpoint.shipped import DEFAULT as DEFAULT_WEIGHTS
from vedette.config.detect import DetectConfig
from vedette.config.run_folder import create_run_folder, next_run_folder
from vedette.core.device import cpu_threads, thread_count
from vedette.core.nms import NmsSettings
from vedette.core.printable import printable
from vedette.errors import EXIT_DONE, EXIT_REFUSED, EXIT_SOME_FAILED, UsageError
from vedette.infer.draw import DrawStyle
from vedette.infer.predictor import Predictor
from vedette.infer.sources import Skipped, Source, open_source
from vedette.infer.stream import PictureResult, StreamSettings, stream
from vedette.infer.writers import (
    Write,
    coco_writer,
    csv_writer,
    error_text,
    json_lines_writer,
    picture_writer,
    text_writer,
)

Progress = Callable[[PictureResult, int, int], None]
"""Called after each picture with its result, its number from 1, and how many pictures there are."""

_MAX_READERS = 8
# Measured with size s at 640 px: on a CPU larger batches leave its caches and cost fresh memory each time.
_CPU_BATCH = 4
_GPU_BATCH = 16
_REMEMBERED_TIMES = 10_000


@dataclass(frozen=True, slots=True)
class DetectSummary:
    """What a run did. ``pictures`` = those with results + ``failed``.

    Attributes:
        folder: where the results are.
        pictures: pictures of the source.
        detections: boxes found.
        class_counts: boxes by class name, most first; classes without boxes are absent.
        failed: pictures that could not be read.
        failures: their paths and what was wrong.
        skipped: entries of the source that are no pictures, and why.
        seconds: wall-clock ``total``; and the time of each stage summed over pictures (``decode``, ``preprocess``,
            ``inference``, ``postprocess``, ``write``). Stages overlap, so their sum may exceed the total.
        percentiles_ms: of each stage (5, 50, 95) percentiles in milliseconds a picture, over the last 10,000.
    """

    folder: Path
    pictures: int
    detections: int
    class_counts: Mapping[str, int]
    failed: int
    failures: tuple[tuple[str, str], ...]
    skipped: tuple[Skipped, ...]
    seconds: Mapping[str, float]
    percentiles_ms: Mapping[str, tuple[float, float, float]]

    @property
    def exit_code(self) -> int:
        """0; 1 if some pictures failed; 2 if all did."""
        if not self.failed:
            return EXIT_DONE
        return EXIT_REFUSED if self.failed == self.pictures else EXIT_SOME_FAILED


def detect(
    config: DetectConfig, *, predictor: Predictor | None = None, progress: Progress | None = None
) -> DetectSummary:
    """Detect in every picture of the source and write what was asked for into a new run folder.

    Args:
        config: what to run on what, and what to write.
        predictor: a loaded detector to use instead of ``config.weights``; thresholds and size of ``config`` apply.
        progress: called after each picture, in order.

    Raises:
        DataError: the source holds no picture.
        UsageError: the source or a setting makes no sense.
        CheckpointError: the weights cannot be loaded.
        WriteError: a result cannot be written.
    """
    started = time.perf_counter()
    source = open_source(config.source)
    loaded = predictor or Predictor.from_file(
        config.weights or DEFAULT_WEIGHTS, device=config.device, precision=config.precision
    )
    configured = _configured(loaded, config)
    _refuse_to_overwrite(source, next_run_folder(config.project, config.name, config.exist_ok))
    folder = create_run_folder(config.project, config.name, config.exist_ok)
    write_atomic(folder / "detect.yaml", config.to_yaml().encode("utf-8"))
    on_cpu = configured.backend.device.type == "cpu"
    settings = StreamSettings(
        batch_size=config.batch_size or (_CPU_BATCH if on_cpu else _GPU_BATCH),
        workers=config.workers or min(max(thread_count() // 2, 1), _MAX_READERS),
        keep_images=not config.nosave,
    )
    tally = _Tally()
    with contextlib.ExitStack() as stack:
        stack.enter_context(cpu_threads(config.threads))
        writers = [stack.enter_context(writer) for writer in _writers(config, folder)]
        write = stack.enter_context(_written_behind(writers, tally, 2 * settings.batch_size))
        if not on_cpu:
            configured.backend.warm_up(configured.letterbox.size_hw, settings.batch_size)
        for number, result in enumerate(stream(source.items, configured, settings), start=1):
            write(result)
            tally.add(result)
            if progress is not None:
                progress(result, number, len(source.items))
    return tally.summary(folder, source, time.perf_counter() - started)


def describe(result: PictureResult) -> str:
    """One line on a picture: its size and what was found, or what was wrong."""
    if result.detections is None:
        return f"{printable(result.item.path)}: {error_text(result.error)}"
    found = result.detections
    counts = Counter(found.class_names[int(number)] for number in found.class_ids)
    text = ", ".join(f"{count} {printable(name)}" for name, count in counts.most_common())
    return f"{printable(result.item.path)}: {found.size_hw[0]}x{found.size_hw[1]} {text or 'nothing found'}"


def _configured(predictor: Predictor, config: DetectConfig) -> Predictor:
    """The predictor with the thresholds, size and letterbox of the configuration."""
    nms = NmsSettings(
        conf_threshold=config.conf_threshold,
        iou_threshold=config.iou_threshold,
        class_ids=config.classes,
        agnostic=config.agnostic_nms,
        max_detections=config.max_detections,
    )
    letterbox = replace(
        predictor.letterbox,
        size_hw=config.image_size or predictor.letterbox.size_hw,
        shape=config.letterbox or predictor.letterbox.shape,
    )
    return predictor.with_settings(nms=nms, letterbox=letterbox)


def _refuse_to_overwrite(source: Source, folder: Path) -> None:
    """Results never land where the source's pictures (or labels beside them) are."""
    target = folder.resolve()
    for parent in {item.file.parent for item in source.items}:
        resolved = parent.resolve()
        if target == resolved or target in resolved.parents:
            raise UsageError(
                "the folder for results holds pictures of the source",
                where=folder,
                fix="give another --project or --name",
            )


def _writers(config: DetectConfig, folder: Path) -> list[contextlib.AbstractContextManager[Write]]:
    style = DrawStyle(
        line_width=config.line_width,
        labels=not config.hide_labels,
        scores=not config.hide_conf,
        font=config.font,
    )
    choices: list[tuple[bool, Callable[[], contextlib.AbstractContextManager[Write]]]] = [
        (not config.nosave, lambda: picture_writer(folder, style)),
        (config.save_txt, lambda: text_writer(folder / "labels", scores=config.save_conf)),
        (config.save_json, lambda: json_lines_writer(folder / "predictions.jsonl")),
        (config.save_csv, lambda: csv_writer(folder / "predictions.csv")),
        (config.save_coco, lambda: coco_writer(folder / "predictions_coco.json")),
    ]
    return [make() for chosen, make in choices if chosen]


@contextlib.contextmanager
def _written_behind(writers: list[Write], tally: _Tally, at_most: int) -> Iterator[Write]:
    """Write in a thread, in order, while the network runs; never more than ``at_most`` results behind."""
    pending: deque[Future[float]] = deque()

    def write_all(result: PictureResult) -> float:
        begun = time.perf_counter()
        for write in writers:
            write(result)
        return (time.perf_counter() - begun) * 1000.0

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="vedette-write") as pool:

        def write_behind(result: PictureResult) -> None:
            pending.append(pool.submit(write_all, result))
            if len(pending) > at_most:
                tally.add_time("write", pending.popleft().result())

        try:
            yield write_behind
            while pending:
                tally.add_time("write", pending.popleft().result())
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass(slots=True)
class _Tally:
    """Counts and times of a run so far."""

    classes: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    recent: dict[str, deque[float]] = field(default_factory=dict)

    def add(self, result: PictureResult) -> None:
        if result.detections is None:
            self.failures.append((result.item.path, error_text(result.error)))
            return
        found = result.detections
        self.classes.update(found.class_names[int(number)] for number in found.class_ids)
        for stage, milliseconds in found.milliseconds.items():
            self.add_time(stage, milliseconds)

    def add_time(self, stage: str, milliseconds: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + milliseconds / 1000.0
        self.recent.setdefault(stage, deque(maxlen=_REMEMBERED_TIMES)).append(milliseconds)

    def summary(self, folder: Path, source: Source, total_seconds: float) -> DetectSummary:
        return DetectSummary(
            folder=folder,
            pictures=len(source.items),
            detections=sum(self.classes.values()),
            class_counts=dict(self.classes.most_common()),
            failed=len(self.failures),
            failures=tuple(self.failures),
            skipped=source.skipped,
            seconds={"total": total_seconds, **self.seconds},
            percentiles_ms={stage: _percentiles(times) for stage, times in self.recent.items()},
        )


def _percentiles(times: deque[float]) -> tuple[float, float, float]:
    low, middle, high = np.percentile(np.fromiter(times, dtype=np.float64), (5, 50, 95))
    return float(low), float(middle), float(high)
