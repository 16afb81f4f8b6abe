"""``vedette bench``: how fast a detector is on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from vedette.cli.flags import run_with_config
from vedette.config.bench import BenchConfig

if TYPE_CHECKING:
    from vedette.bench.run import BenchRow


_COLUMNS = ("ms", "p95", "read", "prep", "infer", "post", "1/s", "start", "MB", "file", "AP")

_LEGEND = """ms: from bytes to boxes, median, and its 95th percentile; read, prep, infer, post: its parts
1/s: pictures of a folder a second; start: seconds from the start of a process to its first boxes
MB: most memory of that process; file: size in MB; AP: change against PyTorch in float32"""


def run(arguments: Sequence[str]) -> int:
    """Entry point of the command. Exit code 1 if some runtimes could not be timed, 2 if none could."""
    return run_with_config(
        "vedette bench",
        "Time a checkpoint on every installed runtime: latency, throughput, memory, size, change of AP.",
        BenchConfig,
        arguments,
        _bench,
    )


def _bench(config: BenchConfig) -> int:
    from vedette.bench.run import bench

    console = Console(highlight=False, soft_wrap=True)
    with console.status("") as status:
        report = bench(config, status.update)
    console.print(bench_table(report.rows))
    for row in report.rows:
        if row.variant.problem:
            console.print(f"not timed: {row.variant.name}: {row.variant.problem}", markup=False)
    console.print(f"\n{_LEGEND}", markup=False)
    what = ", ".join(f"{name} {value}" for name, value in report.protocol.items())
    console.print(what, markup=False)
    console.print(f"results in {report.folder}", markup=False)
    return report.exit_code


def bench_table(rows: Sequence[BenchRow]) -> Table:
    """A row for each variant that was timed, the fastest first."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 0, 0, 1))
    table.add_column("", no_wrap=True)
    for name in _COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    timed = [row for row in rows if row.timing is not None]
    for row in sorted(timed, key=lambda row: row.timing.milliseconds["total"][1] if row.timing else 0.0):
        table.add_row(*_cells(row))
    return table


def _cells(row: BenchRow) -> list[str]:
    assert row.timing is not None
    times = row.timing.milliseconds
    stages = [f"{times[stage][1]:.1f}" for stage in ("decode", "preprocess", "inference", "postprocess")]
    cold = row.cold
    return [
        row.variant.name,
        f"{times['total'][1]:.1f}",
        f"{times['total'][2]:.1f}",
        *stages,
        f"{row.timing.pictures_per_second:.1f}",
        "" if cold is None else f"{cold.first_box_seconds:.2f}",
        "" if cold is None or cold.peak_mb is None else f"{cold.peak_mb:.0f}",
        "" if row.file_mb is None else f"{row.file_mb:.1f}",
        "" if row.ap_change is None else f"{row.ap_change:+.4f}",
    ]
