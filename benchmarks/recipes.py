"""Two recipes on the same data under the same budget of pictures, with several seeds each.

Every run is a `vedette train` of its own in PROJECT/DATA-HYP-SEED. One that is finished is read, one that was
interrupted is resumed, so the program can be started again at any time. It ends with mean, least and greatest AP and
AP50 of every recipe.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Train what is not trained yet, then print the table."""
    arguments = _arguments()
    for data in arguments.data:
        print(
            f"{data}: {arguments.model}, {arguments.size} px, {arguments.epochs} epochs, "
            f"batch {arguments.batch}, seeds {arguments.seeds}, from scratch, validation split"
        )
        means = {}
        for hyp in arguments.hyp:
            figures = [_figures(_run(arguments, data, hyp, seed)) for seed in arguments.seeds]
            for name, values in zip(("AP", "AP50"), zip(*figures, strict=True), strict=True):
                means[hyp, name] = statistics.mean(values)
                print(
                    f"  {hyp:<12} {name:<5} mean {means[hyp, name]:.4f}  "
                    f"least {min(values):.4f}  greatest {max(values):.4f}"
                )
        if len(arguments.hyp) == 2:
            first, second = arguments.hyp
            difference = means[first, "AP"] - means[second, "AP"]
            print(f"  {first} - {second}: AP {difference:+.4f}")


def _run(arguments: argparse.Namespace, data: str, hyp: str, seed: int) -> Path:
    """The folder of a finished run."""
    name = f"{Path(data).stem}-{Path(hyp).stem}-{seed}"
    folder = Path(arguments.project) / name
    if (folder / "summary.json").exists():
        return folder
    command = [sys.executable, "-m", "vedette", "train"]
    if any(folder.glob("state/state-*.safetensors")):
        command += ["--resume", str(folder)]
    else:
        command += ["--data", data, "--cfg", arguments.model, "--img", str(arguments.size)]
        command += ["--epochs", str(arguments.epochs), "--batch", str(arguments.batch), "--hyp", hyp]
        command += ["--seed", str(seed), "--noval", "--noplots", "--exist-ok"]
        command += ["--project", arguments.project, "--name", name]
        command += ["--weights", arguments.weights] if arguments.weights else []
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def _figures(folder: Path) -> tuple[float, float]:
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return float(summary["ap"]), float(summary["ap50"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", default=["bccd", "wind-turbines"])
    parser.add_argument("--hyp", nargs="+", default=["default", "yolov5-v4"])
    parser.add_argument("--model", default="yolov5n")
    parser.add_argument("--weights", default="", help="start from these instead of from scratch")
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--project", default="runs/recipes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
