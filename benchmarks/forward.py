"""One forward pass and decode on the CPU: float32 as built against bfloat16 in channels_last.

Both networks are fused and hold the same weights; passes alternate, so that whatever else the machine does
meets both. Prints medians in milliseconds and their ratio.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time

import torch

from vedette.model.detector import Detector, build_detector
from vedette.model.fuse import fuse

CASES = (("yolov5s", 640), ("yolov5n", 320))


def measure(detector: Detector, images: torch.Tensor) -> float:
    """Seconds of one pass from images to decoded boxes."""
    start = time.perf_counter()
    with torch.inference_mode():
        detector.head.decode(detector(images))
    return time.perf_counter() - start


def compare(name: str, side: int, repeats: int) -> None:
    """Alternate the two networks and print their medians."""
    plain = fuse(build_detector(name).eval())
    fast = fuse(plain).to(dtype=torch.bfloat16, memory_format=torch.channels_last)
    images = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    fast_images = images.to(dtype=torch.bfloat16, memory_format=torch.channels_last)
    for _ in range(3):
        measure(plain, images)
        measure(fast, fast_images)
    seconds: dict[str, list[float]] = {"float32": [], "bfloat16": []}
    for _ in range(repeats):
        seconds["float32"].append(measure(plain, images))
        seconds["bfloat16"].append(measure(fast, fast_images))
    medians = {key: 1000 * statistics.median(values) for key, values in seconds.items()}
    print(
        f"{name} {side} px: float32 {medians['float32']:.1f} ms, bfloat16 channels_last "
        f"{medians['bfloat16']:.1f} ms, ratio {medians['bfloat16'] / medians['float32']:.2f}"
    )


def main() -> None:
    """Print the protocol, then every case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, default=0, help="0: torch's own choice")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(
        f"torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}, "
        f"{torch.get_num_threads()} threads, batch 1, fused, with decode, median of {arguments.repeats} alternating"
    )
    for name, side in CASES:
        compare(name, side, arguments.repeats)


if __name__ == "__main__":
    main()
