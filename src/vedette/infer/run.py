"""``vedette detect``: source to predictor to writers."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.checkpoint.atomic import write_atomic
from vedette.config.detect import DetectConfig
from vedette.config.run_folder import create_run_folder, next_run_folder
from vedette.core.device import cpu_threads, lane_threads, thread_count
from vedette.core.picture_format import RGB8
from vedette.core.printable import printable
from vedette.errors import UsageError
from vedette.infer.addresses import is_address, shown
from vedette.infer.configured import configured_predictor, tracking_settings, wants_lanes
from vedette.infer.draw import DrawStyle
from vedette.infer.lanes import chosen_lanes, lanes_on
from vedette.infer.picture_writers import crop_writer, feature_writer, picture_writer
from vedette.infer.sources import Source, list_source, settle_arrays
from vedette.infer.stream import PictureResult, StreamSettings, stream
from vedette.infer.tally import DetectSummary, Tally
from vedette.infer.tiling import LARGE_PICTURES, TiledPredictor
from vedette.infer.tracking.following import Following
from vedette.infer.tracking.track_writer import track_writer
from vedette.infer.video.live import LiveSettings
from vedette.infer.video_writer import video_writer
from vedette.infer.viewer import Show, refuse_without_windows, viewer
from vedette.infer.writers import (
    Write,
    coco_writer,
    csv_writer,
    error_text,
    json_lines_writer,
    text_writer,
)

if TYPE_CHECKING:
    from vedette.infer.backends import Backend
    from vedette.infer.predictor import Predictor

Progress = Callable[[PictureResult, int, int | None], None]
"""Called after each result with its number from 1, and how many there will be, if that is known."""

_log = logging.getLogger(__name__)

_MAX_READERS = 8
# Measured with size s at 640 px: on a CPU larger batches leave its caches and cost fresh memory each time.
_CPU_BATCH = 4
_GPU_BATCH = 16


def detect(
    config: DetectConfig, *, predictor: Predictor | None = None, progress: Progress | None = None
) -> DetectSummary:
    """Detect in everything that the source holds and write what was asked for into a new run folder.

    Where there are streams, Ctrl-C ends the reading, and what was found until then is written as always.

    Args:
        config: what to run on what, and what to write.
        predictor: a loaded detector to use instead of ``config.weights``; thresholds and size of ``config`` apply.
        progress: called after each picture, and after each event of a video or stream, in order.

    Raises:
        DataError: the source holds nothing that can be read.
        UsageError: the source or a setting makes no sense.
        CheckpointError: the weights cannot be loaded.
        WriteError: a result cannot be written.
    """
    started = time.perf_counter()
    _explain(config)
    if config.view_img:
        refuse_without_windows()
    listed = list_source(config.source)
    lanes = chosen_lanes(config, listed, predictor is None and wants_lanes(config))
    configured = configured_predictor(config, predictor, lanes)
    source = settle_arrays(listed, config.source, arrays=configured.picture_format != RGB8)
    lanes = lanes_on(configured.backend.device, lanes, config.lanes)
    folder = _run_folder(config, source)
    settings = _stream_settings(config, configured.backend, lanes)
    tally, following = Tally(), _following(config)
    with contextlib.ExitStack() as stack:
        stack.enter_context(cpu_threads(lane_threads(config.threads, lanes)))
        # Layers are shown of whole pictures.
        whole = configured.predictor if isinstance(configured, TiledPredictor) else configured
        writers = [stack.enter_context(writer) for writer in _writers(config, folder, whole)]
        write = stack.enter_context(_written_behind(writers, tally, settings.ahead))
        show = stack.enter_context(viewer(_style(config))) if config.view_img else None
        if str(configured.backend.device) != "cpu":
            batch_size = _batch_size(config, configured.backend, lanes)
            configured.backend.warm_up(configured.letterbox.size_hw, batch_size)
        found = stack.enter_context(contextlib.closing(stream(source, configured, settings)))
        results = found if following is None else following.results(found)
        report = _Report(write, tally, progress, show, _known_count(source))
        interrupted = report.until_interrupted(results, live=bool(source.streams))
    summary = tally.summary(folder, source.skipped, time.perf_counter() - started, interrupted)
    return summary if following is None else replace(summary, track_counts=following.counts())


def describe(result: PictureResult) -> str:
    """One line on a result: what was found where, what was wrong, or what happened."""
    path = printable(result.item.path)
    if result.event is not None:
        return f"{path}: {_event_text(result)}"
    if result.item.frame_index is not None:
        path += f" picture {result.item.frame_index} at {(result.item.time_ms or 0.0) / 1000.0:.3f} s"
    if result.detections is None:
        return f"{path}: {error_text(result.error)}"
    found = result.detections
    counts = Counter(found.class_names[int(number)] for number in found.class_ids)
    text = ", ".join(f"{count} {printable(name)}" for name, count in counts.most_common())
    return f"{path}: {found.size_hw[0]}x{found.size_hw[1]} {text or 'nothing found'}"


def _event_text(result: PictureResult) -> str:
    event = result.event
    assert event is not None
    reason = f" ({error_text(event.error)})" if event.error is not None else ""
    pictures = f"after {event.frames} pictures" + (f", {event.dropped} dropped" if event.dropped else "")
    if event.kind == "lost":
        return f"lost {pictures}{reason}; trying to reach it again"
    if event.kind == "recovered":
        return f"there again, after a gap of {(event.gap_ms or 0.0) / 1000.0:.1f} s"
    return f"ended {pictures}{reason}" if event.kind == "ended" else "opened"


def _explain(config: DetectConfig) -> None:
    """Say what became of flags that do nothing here."""
    if config.update:
        _log.warning(
            "--update: nothing is fetched or rewritten; `vedette import old.pt` turns an old checkpoint into a new one"
        )
    if config.dnn:
        _log.warning("--dnn: the file of the weights says what runs it; OpenCV's network reader is not used")


def _run_folder(config: DetectConfig, source: Source) -> Path:
    """The folder of the results, made; holds the settings, without the passwords of addresses."""
    project, name, exist_ok = config.project, config.name, config.exist_ok
    if config.output:
        project, name, exist_ok = str(Path(config.output).parent), Path(config.output).name, True
    _refuse_to_overwrite(source, next_run_folder(project, name, exist_ok))
    folder = create_run_folder(project, name, exist_ok)
    public = tuple(shown(part) if is_address(part) else part for part in config.source)
    settings = config.model_copy(update={"source": public})
    write_atomic(folder / "detect.yaml", settings.to_yaml().encode("utf-8"))
    return folder


def _batch_size(config: DetectConfig, backend: Backend, lanes: int) -> int:
    fixed = config.batch_size or backend.batch_size
    if fixed:
        return fixed
    if str(backend.device) != "cpu":
        return _GPU_BATCH
    # With lanes, one picture each: the last ones of a folder are shared out, and maps stay in the caches.
    return _CPU_BATCH if lanes == 1 else 1


def _stream_settings(config: DetectConfig, backend: Backend, lanes: int) -> StreamSettings:
    # Pictures for tiles may be huge, so few are read ahead; their tiles are what goes through the network together.
    tiled = config.tile is not None
    return StreamSettings(
        batch_size=1 if tiled else _batch_size(config, backend, lanes),
        lanes=lanes,
        workers=config.workers or (1 if tiled else min(max(thread_count() // 2, lanes), _MAX_READERS)),
        limits=LARGE_PICTURES if tiled else None,
        keep_images=not config.nosave or config.save_crop or config.visualize or config.view_img,
        live=LiveSettings(
            keep_all=config.stream_buffer,
            retries=config.stream_retries,
            timeout_s=config.stream_timeout,
            stride=config.vid_stride,
        ),
    )


def _following(config: DetectConfig) -> Following | None:
    if not config.track:
        return None
    drawn = not config.nosave or config.view_img
    return Following(
        tracking_settings(config),
        shown_above=config.conf_threshold,
        trail_seconds=config.track_trail_seconds if drawn else 0.0,
    )


def _refuse_to_overwrite(source: Source, folder: Path) -> None:
    """Results never land where the source's pictures (or labels beside them) are."""
    target = folder.resolve()
    files = [item.file for item in source.items if not item.address]
    files += [item.file for item in source.videos if item.address == str(item.file)]
    for parent in {file.parent for file in files}:
        resolved = parent.resolve()
        if target == resolved or target in resolved.parents:
            raise UsageError(
                "the folder for results holds pictures of the source",
                where=folder,
                fix="give another --project or --name",
            )


def _style(config: DetectConfig) -> DrawStyle:
    return DrawStyle(
        line_width=config.line_width,
        labels=not config.hide_labels,
        scores=not config.hide_conf,
        font=config.font,
    )


def _writers(
    config: DetectConfig, folder: Path, predictor: Predictor
) -> list[contextlib.AbstractContextManager[Write]]:
    style = _style(config)
    choices: list[tuple[bool, Callable[[], contextlib.AbstractContextManager[Write]]]] = [
        (not config.nosave, lambda: picture_writer(folder, style)),
        (
            not config.nosave,
            lambda: video_writer(folder, style, streams=config.save_video, fourcc=config.fourcc),
        ),
        (config.save_txt, lambda: text_writer(folder / "labels", scores=config.save_conf)),
        (config.save_json, lambda: json_lines_writer(folder / "predictions.jsonl")),
        (config.save_csv, lambda: csv_writer(folder / "predictions.csv")),
        (config.save_coco, lambda: coco_writer(folder / "predictions_coco.json")),
        (config.track, lambda: track_writer(folder / "tracks")),
        (config.save_crop, lambda: crop_writer(folder / "crops")),
        (config.visualize, lambda: feature_writer(folder / "features", predictor)),
    ]
    return [make() for chosen, make in choices if chosen]


def _known_count(source: Source) -> int | None:
    return None if source.videos or source.streams else len(source.items)


class _Report:
    """Passes each result on: to the writers, the counts, the console and the window."""

    def __init__(
        self,
        write: Write,
        tally: Tally,
        progress: Progress | None,
        show: Show | None,
        count: int | None,
    ) -> None:
        self._write, self._tally, self._progress, self._show = write, tally, progress, show
        self._count = count

    def until_interrupted(self, results: Iterator[PictureResult], *, live: bool) -> bool:
        """Go through all results; True if Ctrl-C ended the reading of streams, which has no other end."""
        try:
            for number, result in enumerate(results, start=1):
                # Counted first: what is in the files when Ctrl-C comes is in the summary, too.
                self._tally.add(result)
                self._write(result)
                if self._progress is not None:
                    self._progress(result, number, self._count)
                if self._show is not None and not self._show(result):
                    break
        except KeyboardInterrupt:
            if not live:
                raise
            return True
        return False


@contextlib.contextmanager
def _written_behind(writers: list[Write], tally: Tally, at_most: int) -> Iterator[Write]:
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
