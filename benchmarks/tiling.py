"""What tiles do for small objects, and what they cost: AP by the size of objects with and without, on one set.

Protocol: collages of 1600 x 1200 pixels on grey. Each holds one photograph of PASCAL VOC 2007's validation split at
twice its size and about thirty others at a quarter to three quarters of theirs, at random places (seeded), with their
boxes; difficult ones are ignored. Measured by COCO's rules with the weights that ship with vedette, through the same
`evaluate` as `vedette val`:

* whole: the picture in one frame;
* suppressed: tiles and the whole picture, put together by plain class-aware suppression;
* tiles alone, and tiles with the whole picture, put together by vedette's rule (`core/seams.py`).

Needs the photographs: VEDETTE_DATA_DIR names the folder that holds `voc2007`.

    python benchmarks/tiling.py [--collages 24] [--frame 640] [--tiles 640 320] [--draw found.jpg]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import torch

from vedette.config.evaluate import EvaluateConfig
from vedette.core.nms import NmsSettings, best_first, greedy, pairwise_iou
from vedette.core.seams import FoundInViews
from vedette.core.tiles import TileGrid, tile_grid
from vedette.data.description import load_description
from vedette.data.images import read_image
from vedette.data.index import SplitIndex, load_index
from vedette.evaluate.run import evaluate
from vedette.infer import tiling
from vedette.infer.draw import DrawStyle, draw_detections
from vedette.infer.load import load
from vedette.infer.tiling import AnyPredictor, TiledPredictor

SIZE_HW = (1200, 1600)
NUMBERS = ("ap_small", "ap_medium", "ap_large", "ap", "ap50")


def main() -> None:
    """Measure and print."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    photographs = load_index(load_description("voc2007"), "val")
    with tempfile.TemporaryDirectory() as temporary:
        index = make_collages(photographs, Path(temporary), options.collages)
        small, medium = (int((index.areas[~index.ignored] < side**2).sum()) for side in (32, 96))
        print(
            f"python {platform.python_version()}, torch {torch.__version__}, {os.cpu_count()} cores, "
            f"{options.threads} threads; {options.weights}, frames of {options.frame} px, float32\n"
            f"{len(index)} collages of {SIZE_HW[1]} x {SIZE_HW[0]} px, {int((~index.ignored).sum())} boxes: "
            f"{small} small, {medium - small} medium, {len(index.areas) - int(index.ignored.sum()) - medium} large\n"
        )
        print(f"{'':24}" + "".join(f"{name:>10}" for name in (*NUMBERS, "frames", "ms", "merge ms")))
        plain = load(options.weights, device="cpu", image_size=options.frame)
        report("whole picture", plain, index)
        for side in options.tiles:
            tiled = TiledPredictor(plain, (side, side), options.overlap)
            with plain_suppression():
                report(f"tiles of {side}, suppressed", tiled, index)
            alone = TiledPredictor(plain, (side, side), options.overlap, whole=False)
            report(f"tiles of {side} alone", alone, index)
            report(f"tiles of {side}", tiled, index)
        if options.draw:
            draw(index, plain, options)


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", default="yolov5n-voc")
    parser.add_argument("--collages", type=int, default=24)
    parser.add_argument("--frame", type=int, default=640)
    parser.add_argument("--tiles", type=int, nargs="+", default=[640, 320])
    parser.add_argument("--overlap", type=float, default=0.2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--draw", default="", help="write the first collage with what is found, both ways")
    return parser.parse_args()


def report(name: str, predictor: AnyPredictor, index: SplitIndex) -> None:
    """Measure on all collages and print a line."""
    merging: list[float] = []
    with timed_merging(merging):
        result = evaluate(predictor, index, EvaluateConfig())
    figures = "".join(f"{result.numbers[number] or 0.0:>10.4f}" for number in NUMBERS)
    merge = sum(merging) / len(index) * 1e3
    frames = 1
    if isinstance(predictor, TiledPredictor):
        frames = len(tile_grid(SIZE_HW, predictor.tile_hw, predictor.overlap)) + predictor.whole
    milliseconds = result.timing["inference"] + result.timing["preprocess"] + result.timing["postprocess"]
    print(f"{name:24}{figures}{frames:>10}{milliseconds:>10.0f}{merge:>10.0f}", flush=True)


def make_collages(photographs: SplitIndex, folder: Path, count: int) -> SplitIndex:
    """Write the pictures and their boxes as a COCO data set, and open it."""
    (folder / "images").mkdir()
    document: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": []}
    names = photographs.class_names
    document["categories"] = [{"id": number + 1, "name": name} for number, name in enumerate(names)]
    for number in range(count):
        canvas, rows = collage(photographs, np.random.default_rng(number))
        cv2.imwrite(str(folder / "images" / f"{number}.png"), canvas[..., ::-1])
        size = {"width": SIZE_HW[1], "height": SIZE_HW[0]}
        document["images"].append({"id": number + 1, "file_name": f"{number}.png", **size})
        for class_id, x1, y1, x2, y2, ignored in rows:
            document["annotations"].append(
                {
                    "id": len(document["annotations"]) + 1,
                    "image_id": number + 1,
                    "category_id": int(class_id) + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": int(ignored),
                }
            )
    (folder / "val.json").write_text(json.dumps(document), encoding="utf-8")
    text = f"format: coco\nval: {{images: images, annotations: val.json}}\nnames: [{', '.join(names)}]\n"
    (folder / "data.yaml").write_text(text, encoding="utf-8")
    return load_index(load_description(str(folder / "data.yaml")), "val", cache_dir=folder / "cache")


def collage(
    photographs: SplitIndex, random: np.random.Generator
) -> tuple[np.ndarray, list[tuple[float, ...]]]:
    """One picture and its rows: class, corners in pixels, whether it is ignored."""
    height, width = SIZE_HW
    canvas = np.full((height, width, 3), 114, dtype=np.uint8)
    free = np.ones((height, width), dtype=bool)
    rows: list[tuple[float, ...]] = []
    for attempt in range(400):
        number = int(random.integers(len(photographs)))
        scale = 2.0 if attempt == 0 else float(random.uniform(0.25, 0.75))
        photograph = read_image(photographs.image_path(number))
        high, wide = (max(1, round(side * scale)) for side in photograph.shape[:2])
        top, left = int(random.integers(0, height - high)), int(random.integers(0, width - wide))
        place = slice(top, top + high), slice(left, left + wide)
        if not free[place].all():
            continue
        free[place] = False
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        canvas[place] = cv2.resize(photograph, (wide, high), interpolation=method)
        factors = np.array([wide / photograph.shape[1], high / photograph.shape[0]] * 2)
        for row in range(*photographs.offsets[number : number + 2]):
            box = photographs.boxes_xyxy_px[row] * factors + (left, top, left, top)
            rows.append((int(photographs.class_ids[row]), *box.tolist(), bool(photographs.ignored[row])))
    return canvas, rows


def suppressed(found: FoundInViews, _grid: TileGrid, settings: NmsSettings) -> tuple[FoundInViews, bool]:
    """What is compared with: one suppression of the boxes of all views, class by class."""
    found = found.chosen(best_first(found.scores, settings.max_candidates))
    boxes, classes, threshold = found.boxes_xyxy_px, found.class_ids, np.float32(settings.iou_threshold)
    kept = greedy(
        len(found),
        lambda a, b: (pairwise_iou(boxes[a], boxes[b]) > threshold) & (classes[a, None] == classes[None, b]),
        settings.max_detections,
    )
    return found.chosen(kept), True


@contextmanager
def plain_suppression() -> Iterator[None]:
    """Tiles are put together by :func:`suppressed`."""
    with mock.patch("vedette.infer.tiling.merge_views", suppressed):
        yield


@contextmanager
def timed_merging(seconds: list[float]) -> Iterator[None]:
    """The time of each merge is added to ``seconds``."""
    merge = tiling.merge_views

    def timed(*arguments: Any) -> Any:
        started = time.perf_counter()
        result = merge(*arguments)
        seconds.append(time.perf_counter() - started)
        return result

    with mock.patch("vedette.infer.tiling.merge_views", timed):
        yield


def draw(index: SplitIndex, plain: AnyPredictor, options: argparse.Namespace) -> None:
    """The first collage with what is found in the whole picture, and below it with what is found in tiles."""
    image = read_image(index.image_path(0))
    clear = plain.with_settings(nms=NmsSettings(conf_threshold=0.25))
    assert not isinstance(clear, TiledPredictor)
    side = options.tiles[-1]
    halves = [
        draw_detections(image, predictor.predict([image])[0], DrawStyle(line_width=3))
        for predictor in (clear, TiledPredictor(clear, (side, side), options.overlap))
    ]
    both = np.concatenate(halves)[..., ::-1]
    cv2.imwrite(options.draw, cv2.resize(both, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA))


if __name__ == "__main__":
    main()
