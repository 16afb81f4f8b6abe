"""``vedette detect``: pictures, videos and streams in, boxes out."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from vedette.cli.flags import run_with_config
from vedette.config.detect import DetectConfig
from vedette.errors import EXIT_TERMINATED

if TYPE_CHECKING:
    from vedette.infer.tally import DetectSummary


def run(arguments: Sequence[str]) -> int:
    """Entry point of the command. Exit code 1 if something could not be read, 2 if nothing could."""
    purpose = "Find objects in pictures, videos and streams."
    return run_with_config("vedette detect", purpose, DetectConfig, arguments, _detect)


def _detect(config: DetectConfig) -> int:
    from vedette.infer.run import describe, detect
    from vedette.infer.stream import PictureResult

    console = Console(highlight=False, soft_wrap=True)

    def show(result: PictureResult, number: int, count: int | None) -> None:
        if result.event is None:
            console.print(f"{number}/{count} " * bool(count) + describe(result), markup=False)
        elif result.item.live or result.error is not None:
            console.print(describe(result), markup=False)

    with _ended_like_ctrl_c() as terminated:
        try:
            _tell_runtime(console, config)
            summary = detect(config, progress=show)
        except KeyboardInterrupt:
            if not terminated.is_set():
                raise
            return EXIT_TERMINATED
    _print_summary(console, summary)
    return EXIT_TERMINATED if terminated.is_set() else summary.exit_code


@contextlib.contextmanager
def _ended_like_ctrl_c() -> Iterator[threading.Event]:
    """SIGTERM, by which services are stopped, ends streams in order too; gives what is set when it comes."""
    terminated = threading.Event()

    def end(*_: object) -> None:
        terminated.set()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # where Python takes no signals
        yield terminated
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield terminated
    finally:
        signal.signal(signal.SIGTERM, before)


def _tell_runtime(console: Console, config: DetectConfig) -> None:
    """Say what runs the network where that is not PyTorch; prepare it first where that was asked for."""
    from vedette.infer.configured import checkpoint_file, leaves_the_runtime_open, prepared_choice

    if config.runtime == "fastest" and prepared_choice(config) is None:
        if not leaves_the_runtime_open(config):
            console.print("--runtime fastest: PyTorch is used, other settings ask for it", markup=False)
            return
        from vedette.bench.prepare import prepare

        with console.status("") as status:
            made = prepare(
                checkpoint_file(config),
                config.image_size,
                device=config.device,
                threads=config.threads,
                progress=lambda what: status.update(f"preparing, once: {what}"),
            )
        if made is None:
            console.print(
                "--runtime fastest: PyTorch is used, on a GPU or without a cache folder", markup=False
            )
    chosen = prepared_choice(config)
    if chosen is not None:
        console.print(chosen[0].sentence(), markup=False)


def _print_summary(console: Console, summary: DetectSummary) -> None:
    from vedette.core.printable import printable

    read = summary.pictures - summary.failed
    found = ", ".join(f"{count} {name}" for name, count in summary.class_counts.items()) or "nothing"
    console.print(f"\n{read} pictures: {found}", markup=False)
    if summary.track_counts:
        tracks = ", ".join(f"{count} {name}" for name, count in summary.track_counts.items())
        console.print(f"objects tracked: {tracks}", markup=False)
    for path, reason in summary.failures:
        console.print(f"failed: {printable(path)}: {reason}", markup=False)
    for skipped in summary.skipped:
        console.print(f"skipped: {printable(skipped.path)}: {skipped.reason}", markup=False)
    for stream in summary.streams:
        gaps = f", gaps: {stream.gaps}, {stream.gap_seconds:.1f} s in all" if stream.gaps else ""
        console.print(
            f"stream: {printable(stream.path)}: {stream.frames} pictures came, "
            f"{stream.looked_at} were looked at{gaps}",
            markup=False,
        )
    if summary.percentiles_ms:
        stages = ", ".join(f"{name} {times[1]:.1f}" for name, times in summary.percentiles_ms.items())
        console.print(f"median milliseconds a picture: {stages}", markup=False)
    console.print(f"results in {summary.folder} ({summary.seconds['total']:.1f} s)", markup=False)
