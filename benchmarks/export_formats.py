"""Every export format that is installed, in every number format it has: does it find what PyTorch finds?

Protocol: each file is written as `vedette export --data` writes it, and verified so: final detections on the golden
pictures it carries and on the whole split, and AP, against PyTorch in float32. A line in Markdown for each file: its
size with golden pictures; greatest difference of a coordinate (pixels of the picture) and of a score; boxes beyond the
tolerance of the number format, of all with a score above 0.25; AP of PyTorch and of the file; seconds to convert.
Formats without their packages are named at the end; those with an environment of their own are run in that (`make
test-export` makes it). Core ML's program is computed by torch where Core ML is not, in float32.

`--shapes` instead writes files for 1, 2 and 7 frames of 640x640 and 640x384: one for all where the format can leave
shapes open, else one each, and says which of them give the decoded predictions of PyTorch for frames of noise.

    python benchmarks/export_formats.py best.safetensors --data bccd [--format onnx ncnn] [--precision float32]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

# What the `vedette` command sets, before torch starts its threads.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import numpy as np

from vedette.checkpoint.load import load
from vedette.config.export import ExportConfig, VerifyConfig
from vedette.errors import MissingExtraError, VedetteError
from vedette.export import verify as verifying
from vedette.export.formats import FORMATS, Format
from vedette.export.run import ExportedFormat, export
from vedette.infer.backends.coreml import read_coreml
from vedette.infer.backends.exported import ExportedBackend
from vedette.infer.backends.files import OpenedFile, open_file
from vedette.infer.backends.pytorch import TorchBackend

PRECISIONS = ("float32", "bf16", "fp16", "int8")
BATCHES = (1, 2, 7)
SIZES = ((640, 640), (640, 384))
HEADER = (
    "| format | number format | size | golden: px / score | split: px / score | boxes beyond | AP | ΔAP "
    "| converted in | |"
)


def installed(names: list[str]) -> tuple[list[Format], list[str]]:
    """The formats whose packages are there, and the names of the others."""
    there, missing = [], []
    for name in names:
        try:
            FORMATS[name].writer()
            there.append(FORMATS[name])
        except MissingExtraError:
            missing.append(name)
    return there, missing


def interpreted(path: Path, **_options: Any) -> OpenedFile:
    """A Core ML package whose program is run by torch."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from tests.export import mil_program

    contract, _ = read_coreml(Path(path))
    program = mil_program.load_package(Path(path))
    backend = ExportedBackend(
        contract, lambda frames: mil_program.run_program(program, frames), "cpu", "float32"
    )
    return OpenedFile(backend, contract.letterbox, contract.class_names, contract.nms, contract)


def in_any_case(result: ExportedFormat, arguments: argparse.Namespace) -> ExportedFormat:
    """The result with a verification, also where the runtime of the format does not exist."""
    if not result.unverified or result.path is None:
        return result
    checks = VerifyConfig(file=str(result.path), weights=arguments.weights, data=arguments.data)
    with mock.patch.object(verifying, "open_file", interpreted):
        return replace(result, verification=verifying.verify(checks))


def line(result: ExportedFormat, precision: str, title: str = "") -> str:
    """A row of the table."""
    found = result.verification
    start = f"| {title or result.format} | {precision} |"
    if found is None or found.data is None or found.ap is None:
        return f"{start} — | — | — | — | — | — | — | {result.error} |"
    notes = [f"DIFFERS: {'; '.join(found.problems)}"] if found.problems else []
    if result.unverified:
        notes.append("its program, run by torch in float32")
    elif found.runs_in != precision:
        notes.append(f"runs in {found.runs_in} on this machine")
    golden, split = (f"{part.box_px:.3f} / {part.score:.4f}" for part in (found.golden, found.data))
    return (
        f"{start} {result.bytes / 1e6:.1f} MB | {golden} | {split} | {found.data.differing} of {found.data.boxes} "
        f"| {found.ap[1]:.4f} | {found.ap_change:+.4f} | {result.seconds:.0f} s | {', '.join(notes)} |"
    )


def print_accuracy(arguments: argparse.Namespace, formats: list[Format], folder: Path) -> bool:
    """The table of differences; whether all files verified."""
    print(HEADER, "|---" * 10 + "|", sep="\n", flush=True)
    settings = {"weights": arguments.weights, "data": arguments.data, "threads": arguments.threads}
    passed = True
    for precision in arguments.precision:
        able = [chosen for chosen in formats if not chosen.refusal(precision)]
        jobs = [({}, able, "")]
        if precision == "float32":
            jobs.append(({"nms": True}, [it for it in able if not it.refusal("detections")], "{} --nms"))
        for more, chosen, title in jobs:
            if not chosen:
                continue
            config = ExportConfig(
                formats=tuple(it.name for it in chosen),
                precision=precision,
                output=str(folder / "-".join((precision, *more))),
                keep_differing=True,
                **settings,
                **more,
            )
            for result in export(config, progress).formats:
                whole = in_any_case(result, arguments)
                print(line(whole, precision, title.format(result.format)), flush=True)
                passed &= whole.verification is not None and whole.verification.passed
    return passed


def shape_settings(chosen: Format) -> tuple[str, bool, bool]:
    """The widest `--dynamic` that the format takes, and whether batch and size are then fixed."""
    fixed = {name: bool(chosen.refusal(f"any {name} size")) for name in ("batch", "image")}
    dynamic = {(False, False): "all", (False, True): "batch", (True, False): "size", (True, True): ""}
    return dynamic[fixed["batch"], fixed["image"]], fixed["batch"], fixed["image"]


def print_shapes(arguments: argparse.Namespace, formats: list[Format], folder: Path) -> bool:
    """What becomes of every shape; whether all files that were written give what PyTorch gives."""
    print("| format | files | " + " | ".join(f"{n} × {h}×{w}" for h, w in SIZES for n in BATCHES) + " |")
    print("|---" * (2 + len(SIZES) * len(BATCHES)) + "|", flush=True)
    reference = TorchBackend(load(Path(arguments.weights)).detector)
    good, reasons = True, {}
    for chosen in formats:
        dynamic, fixed_batch, fixed_size = shape_settings(chosen)
        files: dict[Any, Path | str] = {}
        cells = []
        for size_hw in SIZES:
            for batch in BATCHES:
                key = (batch if fixed_batch else None, size_hw if fixed_size else None)
                if key not in files:
                    files[key] = written(
                        arguments, chosen, folder / str(len(files)), (batch, size_hw, dynamic)
                    )
                made = files[key]
                if isinstance(made, str):
                    word, _, reasons[chosen.name] = made.partition(": ")
                    cells.append(word)
                    good &= word == "refused"
                    continue
                frames = np.random.default_rng(batch).integers(0, 256, (batch, *size_hw, 3), dtype=np.uint8)
                elsewhere = chosen.systems and sys.platform not in chosen.systems
                opened = interpreted(made) if elsewhere else open_file(made)
                difference = np.abs(opened.backend.run(frames).decoded() - reference.run(frames).decoded())
                good &= bool(difference.max() < 0.01)
                cells.append(f"{difference.max():.4f}")
        count = sum(not isinstance(made, str) for made in files.values())
        print(f"| {chosen.name} | {count} | {' | '.join(cells)} |", flush=True)
    for name, reason in reasons.items():
        print(f"\n{name}: {reason}")
    return good


def written(
    arguments: argparse.Namespace, chosen: Format, folder: Path, shape: tuple[int, tuple[int, int], Any]
) -> Path | str:
    """The file for a shape, or why there is none."""
    batch, size_hw, dynamic = shape
    try:
        (result,) = export(
            ExportConfig(
                weights=arguments.weights,
                formats=(chosen.name,),
                image_size=size_hw,
                batch_size=1 if dynamic in ("all", "batch") else batch,
                dynamic=dynamic,
                output=str(folder),
                threads=arguments.threads,
            ),
            progress,
        ).formats
    except VedetteError as error:
        return f"refused: {error.fix or error.what}"
    return f"failed: {result.error}" if result.path is None else result.path


def progress(name: str, step: str) -> None:
    """Tell whoever waits."""
    print(f"{time.strftime('%H:%M:%S')} {name}: {step}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def place(output: str) -> Iterator[Path]:
    """The folder for files: the named one, or one that is gone afterwards."""
    if output:
        yield Path(output)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def main() -> None:
    """Print one of the tables; exit with 1 if a file differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights")
    parser.add_argument("--data", default="", help="a data set: its validation split is compared")
    parser.add_argument("--format", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--shapes", action="store_true", help="the table of shapes")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", default="", help="keep the files there")
    arguments = parser.parse_args()
    if not arguments.data and not arguments.shapes:
        parser.error("give --data, or --shapes")
    warnings.simplefilter("ignore")  # those of converters, about themselves
    formats, missing = installed(arguments.format)
    with place(arguments.output) as folder:
        table = print_shapes if arguments.shapes else print_accuracy
        good = table(arguments, formats, folder)
    if missing:
        print(f"\nnot installed here: {', '.join(missing)}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
