"""``vedette detect``: pictures in, boxes out."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from vedette.cli.flags import run_with_config
from vedette.config.detect import DetectConfig


def run(arguments: Sequence[str]) -> int:
    """Entry point of the command. Exit code 1 if some pictures could not be read, 2 if none could."""
    return run_with_config("vedette detect", "Find objects in pictures.", DetectConfig, arguments, _detect)


def _detect(config: DetectConfig) -> int:
    from vedette.core.printable import printable
    from vedette.infer.run import describe, detect
    from vedette.infer.stream import PictureResult

    console = Console(highlight=False, soft_wrap=True)

    def show(result: PictureResult, number: int, count: int) -> None:
        console.print(f"{number}/{count} {describe(result)}", markup=False)

    summary = detect(config, progress=show)
    read = summary.pictures - summary.failed
    found = ", ".join(f"{count} {name}" for name, count in summary.class_counts.items()) or "nothing"
    console.print(f"\n{read} pictures: {found}", markup=False)
    for path, reason in summary.failures:
        console.print(f"failed: {printable(path)}: {reason}", markup=False)
    for skipped in summary.skipped:
        console.print(f"skipped: {printable(skipped.path)}: {skipped.reason}", markup=False)
    if summary.percentiles_ms:
        stages = ", ".join(f"{name} {times[1]:.1f}" for name, times in summary.percentiles_ms.items())
        console.print(f"median milliseconds a picture: {stages}", markup=False)
    console.print(f"results in {summary.folder} ({summary.seconds['total']:.1f} s)", markup=False)
    return summary.exit_code
