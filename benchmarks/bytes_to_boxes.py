"""From the bytes of a JPEG to boxes, by stage: every runtime and number format, int8 calibrated on pictures.

Protocol: size s of v4.0 with 80 classes and random weights, unless --weights names a checkpoint; frames of 640 px, one
picture at a time. As in `vedette bench`, each round every variant handles one picture, from its bytes in memory to
its boxes, one variant after the other, so that whatever else the machine does meets all; the first three rounds do not
count. Printed are medians in milliseconds of decoding, letterbox, network and what comes behind it; of the total also
the 5th percentile, which is nearest to an idle machine, and the 95th; and the median over that of PyTorch in float32.

Half of the pictures, at most 32, are what int8 is calibrated on; 8 of the others are timed. They come from --pictures;
drawn ones of 1280 x 720 pixels otherwise. Random weights find next to nothing, so suppression has little to do.

    python benchmarks/bytes_to_boxes.py [--pictures FOLDER] [--weights FILE] [--rounds 40] [--threads 2] [--compile]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# What the `vedette` command sets, before torch starts its threads.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import cv2
import yaml

from vedette.bench.run import opened
from vedette.bench.timing import STAGES, latencies_in_turn
from vedette.bench.variants import Variant, planned, written
from vedette.checkpoint.deployable import save_detector
from vedette.checkpoint.load import load
from vedette.config.bench import BenchConfig
from vedette.core.device import cpu_threads, thread_count
from vedette.core.letterbox import LetterboxPolicy
from vedette.data.images import read_image
from vedette.data.synthetic import draw_picture
from vedette.infer.sources import open_source
from vedette.model.detector import build_detector

CALIBRATION_PICTURES = 32
TIMED_PICTURES = 8
DRAWN_HW = (720, 1280)


def main() -> None:
    """Measure and print."""
    options = parse_options()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        weights = Path(options.weights) if options.weights else random_weights(folder, options.model)
        data, timed = write_data(folder, weights, gather(options.pictures, folder))
        config = BenchConfig(
            weights=str(weights),
            formats=tuple(options.formats),
            compile=options.compile,
            image_size=(options.size, options.size),
            pictures=tuple(map(str, timed)),
            data=str(data),
            rounds=options.rounds,
            threads=options.threads,
            device="cpu",
        )
        variants = written(planned(config), config, folder, lambda what: print(f"  {what}", flush=True))
        predictors, variants = opened(variants, config)
        print_protocol(options, config, timed)
        with cpu_threads(config.threads):
            print_table(latencies_in_turn(predictors, timed, options.rounds, lambda _done, _count: None))
    for variant in variants:
        if variant.problem:
            print(f"not timed: {variant.name}: {variant.problem}")


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", default="", help="folder of JPEG files; default: drawn ones")
    parser.add_argument("--weights", default="", help="checkpoint; default: random weights")
    parser.add_argument("--model", default="yolov5s", help="whose random weights")
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--formats", nargs="+", default=["pytorch", "openvino"])
    parser.add_argument("--compile", action="store_true", help="PyTorch through torch.compile, too")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=0)
    return parser.parse_args()


def random_weights(folder: Path, model: str) -> Path:
    """A checkpoint that was never trained."""
    detector = build_detector(model)
    names = [f"class {number}" for number in range(detector.classes)]
    path = folder / "random.safetensors"
    save_detector(path, detector, class_names=names, letterbox=LetterboxPolicy(), metadata={})
    return path


def gather(given: str, folder: Path) -> list[Path]:
    """Picture files: those of a folder, or drawn ones."""
    if given:
        return [item.file for item in open_source(Path(given)).items]
    files = []
    for number in range(2 * TIMED_PICTURES):
        image = draw_picture("bytes to boxes", number, seed=0, size_hw=DRAWN_HW).image
        files.append(folder / f"drawn_{number}.jpg")
        cv2.imwrite(str(files[-1]), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    return files


def write_data(folder: Path, weights: Path, files: Sequence[Path]) -> tuple[Path, list[Path]]:
    """A data set of these pictures without objects, its description, and the files to time.

    Its classes are those of the weights, as calibration asks for; nothing about it is measured but time.
    """
    parts = {"train": files[::2][:CALIBRATION_PICTURES], "val": files[1::2][:TIMED_PICTURES]}
    for part, chosen in parts.items():
        (folder / "images" / part).mkdir(parents=True)
        for number, file in enumerate(chosen):
            (folder / "images" / part / f"{number:05}{file.suffix}").write_bytes(file.read_bytes())
    description = {
        "path": str(folder),
        **{part: f"images/{part}" for part in parts},
        "names": list(load(weights).class_names),
    }
    path = folder / "data.yaml"
    path.write_text(yaml.safe_dump(description), encoding="utf-8")
    return path, list(parts["val"])


def print_protocol(options: argparse.Namespace, config: BenchConfig, timed: Sequence[Path]) -> None:
    """Versions, machine and work."""
    versions = [f"python {platform.python_version()}", f"opencv {cv2.__version__}"]
    for package in ("torch", "openvino", "onnxruntime"):
        with contextlib.suppress(PackageNotFoundError):
            versions.append(f"{package} {version(package)}")
    print(f"{', '.join(versions)}; {os.cpu_count()} cores, {thread_count(config.threads)} threads")
    sizes = sorted({read_image(path).shape[:2] for path in timed})
    print(
        f"{options.weights or f'{options.model}, random weights'} at {options.size} px, batch 1; {len(timed)} pictures "
        f"of {', '.join(f'{width} x {height}' for height, width in sizes)}; {options.rounds} rounds"
    )


def print_table(times: Mapping[Variant, Mapping[str, tuple[float, float, float]]]) -> None:
    """A line for each variant, the fastest first."""
    plain = next(
        (stages["total"][1] for variant, stages in times.items() if variant.name == "pytorch float32"),
        float("nan"),
    )
    print(f"{'':<28}" + "".join(f"{name:>12}" for name in (*STAGES, "p5", "p95", "ratio")))
    for variant, stages in sorted(times.items(), key=lambda pair: pair[1]["total"][1]):
        early, total, late = stages["total"]
        figures = (*(stages[stage][1] for stage in STAGES), early, late, total / plain)
        print(f"{variant.name:<28}" + "".join(f"{figure:12.2f}" for figure in figures))


if __name__ == "__main__":
    main()
