"""``vedette export``: a checkpoint as files of other runtimes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from vedette.cli.flags import run_with_config
from vedette.config.export import ExportConfig

if TYPE_CHECKING:
    from vedette.export.differences import Differences
    from vedette.export.run import ExportedFormat
    from vedette.export.verify import Verification


def run(arguments: Sequence[str]) -> int:
    """Entry point of the command. Exit code 1 if some formats failed or differ, 2 if there is no file at all."""
    return run_with_config(
        "vedette export",
        "Write a checkpoint for other runtimes, and verify it.",
        ExportConfig,
        arguments,
        _export,
    )


def _export(config: ExportConfig) -> int:
    from vedette.core.device import cpu_threads
    from vedette.export.run import export

    console = Console(highlight=False, soft_wrap=True)
    with cpu_threads(config.threads):
        report = export(config, lambda name, step: console.print(f"{name}: {step} ...", markup=False))
    for result in report.formats:
        console.print()
        _print(console, result)
    return report.exit_code


def _print(console: Console, result: ExportedFormat) -> None:
    if result.verification is not None:
        console.print(heading(result.verification), markup=False, style="bold")
        console.print(verification_table(result.verification))
        console.print(feature_line(result.verification), markup=False, end="")
    for problem in result.verification.problems if result.verification else ():
        console.print(f"differs: {problem}", markup=False)
    if result.error is not None:
        console.print(f"failed: {result.format}: {result.error}", markup=False)
    if result.unverified:
        console.print(f"not verified: {result.unverified}", markup=False)
    if result.path is not None:
        size = f"{result.bytes / 1e6:.1f} MB, converted in {result.seconds:.1f} s"
        console.print(f"written to {result.path} ({size})", markup=False)


def heading(verification: Verification) -> str:
    """Format and number format, and what the runtime made of that."""
    text = f"{verification.format} {verification.precision}"
    same = verification.runs_in == verification.precision
    return text if same else f"{text} (runs in {verification.runs_in} here)"


def verification_table(verification: Verification) -> Table:
    """A row for golden pictures, and one for the data set if there is one."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("compared with PyTorch", no_wrap=True)
    for name in ("pictures", "boxes", "differ", "box px", "overlap", "score", "AP", "ΔAP"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_row("golden pictures", *_cells(verification.golden), "", "")
    if verification.data is not None:
        ap = "" if verification.ap is None else f"{verification.ap[1]:.4f}"
        change = "" if verification.ap_change is None else f"{verification.ap_change:+.4f}"
        table.add_row("data set", *_cells(verification.data), ap, change)
    return table


def feature_line(verification: Verification) -> str:
    """How far the maps of layers are from PyTorch's, with the end of the line; "" without such maps."""
    parts = [f"{name} {apart:.2g}" for name, apart in verification.features.items()]
    return f"feature maps differ by these parts of their values: {', '.join(parts)}\n" if parts else ""


def _cells(differences: Differences) -> list[str]:
    return [
        str(differences.pictures),
        str(differences.boxes),
        str(differences.differing),
        f"{differences.box_px:.3f}",
        f"{differences.overlap:.4f}",
        f"{differences.score:.4f}",
    ]
