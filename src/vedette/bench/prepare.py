"""Once, when the user allows it: export a checkpoint for every fast runtime here, verify, time, keep the fastest."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from vedette.bench.run import opened, timed_pictures
from vedette.bench.timing import latencies_in_turn
from vedette.bench.variants import PYTORCH, Progress, Variant, installed_formats, planned, written
from vedette.config.bench import BenchConfig
from vedette.config.export import VerifyConfig
from vedette.core.device import select_device
from vedette.core.types import SizeHW
from vedette.errors import WriteError
from vedette.export.verify import verify
from vedette.infer.prepared import PreparedRuntime, prepared_runtime, remember, runtime_folder

_FORMATS = (PYTORCH, "onnx", "openvino")
"""What is fast on CPUs and gives the boxes of PyTorch within the tolerance of its number format."""

_ROUNDS = 15


def prepare(
    weights: Path,
    image_size: SizeHW | None,
    *,
    device: str = "",
    threads: int = 0,
    progress: Progress | None = None,
) -> PreparedRuntime | None:
    """The fastest runtime for a checkpoint on this CPU, found once and kept in the cache folder.

    Args:
        weights: a checkpoint.
        image_size: of the frame; None: that of the checkpoint.
        device: the word of the user, "" or "cpu".
        threads: of the CPU; 0: all.
        progress: told what is done.

    Returns:
        What is used from now on; None where there is no cache folder, or where a GPU is used.

    Raises:
        CheckpointError: the checkpoint is not accepted.
        WriteError: the cache folder cannot be written.
    """
    known = prepared_runtime(weights, image_size, device)
    if known is not None:
        return known[0]
    folder = runtime_folder(weights, image_size, device)
    if folder is None or str(select_device(device)) != "cpu":
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"cannot be made ({error.strerror})", where=folder) from None
    installed = installed_formats()
    config = BenchConfig(
        weights=str(weights),
        formats=tuple(name for name in _FORMATS if name in installed),
        image_size=image_size,
        rounds=_ROUNDS,
        threads=threads,
        device="cpu",
    )
    tell = progress or _silent
    wanted = [one for one in planned(config) if one.format != PYTORCH or one.precision == "float32"]
    with tempfile.TemporaryDirectory(prefix="vedette-prepare-") as scratch:
        files = timed_pictures((), Path(scratch))
        predictors, _ = opened(written(wanted, config, Path(scratch), tell), config)
        tell("timing them")
        times = latencies_in_turn(predictors, files, _ROUNDS, lambda _done, _count: None)
        medians = {variant: milliseconds["total"][1] for variant, milliseconds in times.items()}
        fastest = min(medians, key=medians.__getitem__)
        runtime = _described(fastest, medians)
        _keep(fastest, folder, runtime)
    remember(runtime, folder)
    return runtime


def _described(fastest: Variant, medians: dict[Variant, float]) -> PreparedRuntime:
    plain = next(
        time for one, time in medians.items() if one.format == PYTORCH and one.precision == "float32"
    )
    if fastest.format == PYTORCH or fastest.path is None:
        return PreparedRuntime("", PYTORCH, "float32", plain, plain, 0.0, 0.0)
    golden = verify(VerifyConfig(file=str(fastest.path))).golden
    return PreparedRuntime(
        fastest.path.name,
        fastest.format,
        fastest.precision,
        medians[fastest],
        plain,
        float(golden.box_px),
        float(golden.score),
    )


def _keep(fastest: Variant, folder: Path, runtime: PreparedRuntime) -> None:
    """Move the file into the cache folder. Raises WriteError."""
    if not runtime.file or fastest.path is None:
        return
    target = folder / runtime.file
    try:
        if target.is_dir():
            shutil.rmtree(target)
        shutil.move(str(fastest.path), str(target))
    except OSError as error:
        raise WriteError(f"cannot be written ({error.strerror})", where=target) from None


def _silent(_what: str) -> None:
    """No progress is shown."""
