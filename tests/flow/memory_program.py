"""How much memory a run over a long video holds on to: a program of its own, so that nothing else is measured.

    python -m tests.flow.memory_program FOLDER PICTURES

It draws a clip, detects in it with a real network and all writers, and prints JSON: MB resident after a fifth of the
pictures and at the end. Then it does so with a short clip and keeps every result, as a program might by mistake.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from pathlib import Path

from tests.infer.video.clips import write_clip
from tests.infer.video.stream_server import numbered
from tests.model.lively import lively_detector
from vedette.config.detect import DetectConfig
from vedette.core.letterbox import LetterboxPolicy
from vedette.infer.backends.pytorch import TorchBackend
from vedette.infer.predictor import Predictor
from vedette.infer.run import detect
from vedette.infer.stream import PictureResult

SAMPLES = 40
LEAKING = 600


def resident_mb() -> float:
    """Memory of this process in MB, as Linux counts it."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measured(folder: Path, pictures: int, *, leak: bool) -> dict[str, float]:
    clip = folder / f"clip{pictures}.mp4"
    write_clip(clip, [40 * number for number in range(pictures)], lambda n: numbered(n, 128, 96), "mpeg4")
    predictor = Predictor(TorchBackend(lively_detector()), LetterboxPolicy(size_hw=(64, 64)), ("a", "b", "c"))
    samples: list[float] = []
    kept: list[PictureResult] = []
    every = max(pictures // SAMPLES, 1)

    def progress(result: PictureResult, number: int, _: int | None) -> None:
        if leak:
            kept.append(result)
        if number % every == 0:
            samples.append(resident_mb())

    config = DetectConfig(
        source=str(clip), project=str(folder / "runs"), conf_threshold=0.3, max_detections=3, threads=1,
        save_json=True, save_csv=True, save_coco=True, save_txt=pictures < 2000, device="cpu",
    )  # fmt: skip
    summary = detect(config, predictor=predictor, progress=progress)
    early = statistics.median(samples[SAMPLES // 5 : SAMPLES // 5 + 5])
    late = statistics.median(samples[-5:])
    return {"pictures": summary.pictures, "detections": summary.detections, "early": early, "late": late}


if __name__ == "__main__":
    place, count = Path(sys.argv[1]), int(sys.argv[2])
    told = {"sound": measured(place, count, leak=False), "leaking": measured(place, LEAKING, leak=True)}
    sys.stdout.write(json.dumps(told))
