"""One forward pass and decode on the CPU: float32 as built against channels_last, and that in bfloat16.

The networks are fused and hold the same weights; passes alternate, so that whatever else the machine does
meets all. Prints medians in milliseconds and their ratio to float32. bfloat16 pays only on CPUs with
instructions for it (AMX or AVX512_BF16); elsewhere it is emulated and slower.
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
VARIANTS = (
    ("float32", torch.float32, torch.contiguous_format),
    ("float32 channels_last", torch.float32, torch.channels_last),
    ("bfloat16 channels_last", torch.bfloat16, torch.channels_last),
)


def measure(detector: Detector, images: torch.Tensor) -> float:
    """Seconds of one pass from images to decoded boxes."""
    start = time.perf_counter()
    with torch.inference_mode():
        detector.head.decode(detector(images))
    return time.perf_counter() - start


def compare(name: str, side: int, repeats: int) -> None:
    """Alternate the variants of one network and print their medians."""
    plain = fuse(build_detector(name).eval())
    images = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    variants = {
        label: (
            fuse(plain).to(dtype=dtype, memory_format=memory_format),
            images.to(dtype=dtype, memory_format=memory_format),
        )
        for label, dtype, memory_format in VARIANTS
    }
    seconds: dict[str, list[float]] = {label: [] for label in variants}
    for number in range(3 + repeats):
        for label, (network, batch) in variants.items():
            elapsed = measure(network, batch)
            if number >= 3:  # the first rounds warm up
                seconds[label].append(elapsed)
    medians = {label: 1000 * statistics.median(values) for label, values in seconds.items()}
    print(f"{name} {side} px")
    for label, milliseconds in medians.items():
        print(f"  {label:<24}{milliseconds:8.1f} ms  x {milliseconds / medians['float32']:.2f}")


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
