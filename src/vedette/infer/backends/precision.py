"""What can be asked of an exported file but not changed: its number format, and the CPU for some runtimes."""

from __future__ import annotations

from vedette.checkpoint.contract import ExportContract
from vedette.core.device import Precision
from vedette.errors import UsageError


def same_as_file(precision: Precision, contract: ExportContract) -> None:
    """Refuse a number format that is not the file's; the default "float32" stands for whatever the file has.

    Raises:
        UsageError: another one was asked for.
    """
    if precision not in ("auto", "float32", contract.precision):
        raise UsageError(
            f"the file was exported as {contract.precision}",
            where=f"precision '{precision:.40}'",
            fix=f"leave it out, or export with --precision {precision:.40}",
        )


def only_cpu(runtime: str, device: str) -> None:
    """Refuse a device that is not the CPU, for a runtime that vedette runs there only. Raises UsageError."""
    if device.strip().lower() not in ("", "cpu"):
        raise UsageError(
            f"{runtime} runs on the CPU here", where=f"device '{device:.40}'", fix="leave it out"
        )
