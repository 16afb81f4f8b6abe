from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.evaluate.boxes_made import draw
from tests.evaluate.bright_boxes import NAMES, ColourBackend, save_picture
from vedette.config.evaluate import EvaluateConfig
from vedette.core.letterbox import LetterboxPolicy
from vedette.core.nms import NmsSettings
from vedette.data.description import load_description
from vedette.data.index import SplitIndex, load_index
from vedette.errors import ModelError, UsageError
from vedette.evaluate.coco import COCO_NUMBERS, coco_metrics
from vedette.evaluate.packed import Predictions, Truth, offsets_of, partly_labelled, truth_of
from vedette.evaluate.result import Evaluation
from vedette.evaluate.run import evaluate, measure_boxes
from vedette.infer.predictor import Predictor
from vedette.infer.tiling import TiledPredictor
from vedette.infer.tta import AugmentedBackend

# name, (height, width), boxes: class, x1, y1, x2, y2
PICTURES = [
    ("00001.png", (80, 120), [(0, 10, 10, 60, 50), (1, 70, 20, 110, 70)]),
    ("00002.png", (120, 80), [(0, 8, 16, 40, 100)]),
    ("00003.png", (96, 96), []),
    ("00004.png", (80, 120), [(2, 40, 8, 100, 72)]),
    ("photo_b.png", (61, 100), [(0, 20, 10, 80, 50)]),
]


@pytest.fixture
def index(tmp_path: Path) -> SplitIndex:
    """A COCO data set of the pictures; the background picture holds a false target that nobody labelled."""
    folder = tmp_path / "data" / "images"
    folder.mkdir(parents=True)
    document: dict[str, list[dict[str, object]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 10 * (number + 1), "name": name} for number, name in enumerate(NAMES)],
    }
    for number, (name, (height, width), boxes) in enumerate(PICTURES):
        drawn = boxes or [(1, 30, 30, 60, 60)]
        save_picture(folder / name, (height, width), drawn)
        document["images"].append({"id": 100 + number, "file_name": name, "width": width, "height": height})
        for class_id, x1, y1, x2, y2 in boxes:
            document["annotations"].append(
                {
                    "id": len(document["annotations"]) + 1,
                    "image_id": 100 + number,
                    "category_id": 10 * (class_id + 1),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                }
            )
    (tmp_path / "data" / "val.json").write_text(json.dumps(document), encoding="utf-8")
    description = tmp_path / "data" / "data.yaml"
    description.write_text(
        "format: coco\nval: {images: images, annotations: val.json}\nnames: [red, green, blue]\n",
        encoding="utf-8",
    )
    return load_index(load_description(str(description)), "val", cache_dir=tmp_path / "cache")


def _predictor(shape: str = "minimal", names: tuple[str, ...] = NAMES) -> Predictor:
    letterbox = LetterboxPolicy((128, 128), 32, shape=shape)  # type: ignore[arg-type]
    return Predictor(ColourBackend(len(names)), letterbox, names, NmsSettings())


@pytest.mark.parametrize("protocol", ["vedette", "yolov5"])
@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_a_perfect_detector(index: SplitIndex, protocol: str, batch_size: int) -> None:
    seen: list[tuple[int, int]] = []
    settings = EvaluateConfig(protocol=protocol, batch_size=batch_size, workers=2)  # type: ignore[arg-type]
    result = evaluate(_predictor(), index, settings, progress=lambda done, total: seen.append((done, total)))
    assert tuple(result.numbers) == COCO_NUMBERS
    assert result.numbers["ap50"] == pytest.approx(1.0)  # of equal scores the earlier picture counts first
    assert result.confusion.counts.tolist() == [
        [3, 0, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 1, 0, 0],
    ]
    assert [(one.name, one.images, one.instances) for one in result.per_class] == [
        ("red", 3, 3),
        ("green", 1, 1),
        ("blue", 1, 1),
    ]
    assert result.per_class[0].f1 == 1.0
    assert result.per_class[1].precision == 0.5
    assert (result.background_images, result.fp_per_background_image) == (1, 1.0)
    assert seen[-1] == (5, 5)
    assert not result.failed
    assert set(result.timing) == {"decode", "preprocess", "inference", "postprocess", "wall"}
    assert all(value > 0 for value in result.timing.values())
    assert (result.reference is not None) == (protocol == "yolov5")


def test_figures_are_those_of_detect(index: SplitIndex) -> None:
    """What `vedette detect` finds, measured from outside, gives the same numbers."""
    from vedette.data.images import read_image
    from vedette.evaluate.packed import pack_predictions, truth_of

    settings = EvaluateConfig()
    nms = NmsSettings(conf_threshold=settings.conf_threshold, iou_threshold=settings.iou_threshold)
    predictor = _predictor().with_settings(nms=nms)
    single = [predictor.predict([read_image(index.image_path(number))])[0] for number in range(len(index))]
    expected = coco_metrics(pack_predictions(single), truth_of(index), NAMES)
    result = evaluate(_predictor(), index, settings)
    assert result.numbers == expected.numbers
    for number, detections in enumerate(single):
        rows = slice(*result.predictions.offsets[number : number + 2])
        np.testing.assert_array_equal(result.predictions.boxes_xyxy_px[rows], detections.boxes_xyxy_px)


def test_frames_follow_the_protocol(index: SplitIndex) -> None:
    """vedette: one frame size a batch; yolov5: sorted by aspect, half a stride of padding, rounded up."""
    predictor = _predictor()
    evaluate(predictor, index, EvaluateConfig(batch_size=16))
    backend = predictor.backend
    assert isinstance(backend, ColourBackend)
    assert sorted(backend.frame_sizes) == [(96, 128), (128, 96), (128, 128)]
    backend.frame_sizes.clear()
    evaluate(predictor, index, EvaluateConfig(batch_size=3, protocol="yolov5"))
    assert backend.frame_sizes == [(128, 160), (160, 160)]


def test_protocol_is_told(index: SplitIndex) -> None:
    settings = EvaluateConfig(image_size=(96, 160), conf_threshold=0.01, protocol="vedette")
    record = evaluate(_predictor(), index, settings).to_json()["protocol"]
    assert record["name"] == "vedette"
    assert record["size_hw"] == [96, 160]
    assert (record["conf_threshold"], record["iou_threshold"]) == (0.01, 0.65)
    assert (record["max_detections"], record["coco_max_detections"]) == (300, 100)
    assert (record["precision"], record["device"], record["classes"]) == ("float32", "cpu", "same")
    record = evaluate(_predictor(), index, EvaluateConfig(protocol="yolov5")).to_json()["protocol"]
    assert (record["size_hw"], record["pad_strides"], record["letterbox"]) == ([128, 128], 0.5, None)


def test_tiles_and_views_are_told_and_change_what_is_found(index: SplitIndex) -> None:
    """In tiles of 64 pixels and in the whole picture at once, and by three views."""
    plain = _predictor("square")
    tiled = TiledPredictor(plain, (64, 64), 0.25)
    record = evaluate(tiled, index, EvaluateConfig(batch_size=2)).to_json()
    assert record["protocol"]["tiles"] == {"tile_hw": [64, 64], "overlap": 0.25, "whole": True}
    assert record["protocol"]["combines"] is None
    assert record["ap50"] == pytest.approx(1.0)
    thrice = Predictor(AugmentedBackend(plain.backend), plain.letterbox, NAMES)
    for protocol in ("vedette", "yolov5"):
        record = evaluate(thrice, index, EvaluateConfig(protocol=protocol)).to_json()  # type: ignore[arg-type]
        assert record["protocol"]["combines"] == "three views of a picture"
        assert record["protocol"]["tiles"] is None
        assert record["ap50"] == pytest.approx(1.0)


def test_the_published_protocol_has_no_tiles(index: SplitIndex) -> None:
    with pytest.raises(UsageError, match="the published protocol has no tiles"):
        evaluate(TiledPredictor(_predictor(), (64, 64)), index, EvaluateConfig(protocol="yolov5"))


def test_bad_files_are_listed_and_left_out(index: SplitIndex) -> None:
    """A damaged file, a missing one, and one of another size than the index says."""
    index.image_path(0).write_bytes(b"no picture")
    index.image_path(1).unlink()
    save_picture(index.image_path(3), (64, 64), [])
    result = evaluate(_predictor(), index, EvaluateConfig(batch_size=2))
    assert {(Path(one.path).name, one.kind) for one in result.failed} == {
        ("00001.png", "not-an-image"),
        ("00002.png", "missing"),
        ("00004.png", "changed"),
    }
    assert [Path(path).name for path in result.image_paths] == ["00003.png", "photo_b.png"]
    assert [one.instances for one in result.per_class] == [1, 0, 0]
    assert result.per_class[1].ap is None
    assert result.to_json()["failed"][0].keys() == {"path", "kind", "reason"}


def test_no_picture_left(index: SplitIndex) -> None:
    for number in range(len(index)):
        index.image_path(number).unlink()
    for protocol in ("vedette", "yolov5"):
        result = evaluate(_predictor(), index, EvaluateConfig(protocol=protocol))  # type: ignore[arg-type]
        assert len(result.failed) == 5
        assert result.numbers == dict.fromkeys(COCO_NUMBERS)
        assert result.fp_per_background_image is None
        json.dumps(result.to_json(), allow_nan=False)


def test_classes_in_another_order_and_too_many(index: SplitIndex) -> None:
    """The detector calls red "blue" and so on; names decide, and boxes of unknown names are dropped."""
    result = evaluate(_predictor(names=("blue", "green", "red")), index, EvaluateConfig())
    assert result.confusion.counts[:3, :3].tolist() == [[0, 0, 3], [0, 1, 0], [1, 0, 0]]
    result = evaluate(_predictor(names=("cat", "green", "blue", "red")), index, EvaluateConfig())
    assert result.confusion.counts[0].tolist() == [0, 0, 0, 3]
    with pytest.raises(ModelError, match="does not know red, blue"):
        evaluate(_predictor(names=("cat", "green")), index, EvaluateConfig())


def test_single_class(index: SplitIndex) -> None:
    result = evaluate(_predictor(names=("a", "b")), index, EvaluateConfig(single_cls=True))
    assert [(one.name, one.instances) for one in result.per_class] == [("item", 5)]
    assert result.confusion.counts.tolist() == [[4, 1], [1, 0]]  # no backend class for blue


def test_results_files(index: SplitIndex, tmp_path: Path) -> None:
    """Ids of the data under vedette, of the file names under yolov5."""
    result = evaluate(_predictor(), index, EvaluateConfig())
    result.write_predictions_json(tmp_path / "p.json")
    records = json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))
    assert {(one["image_id"], one["category_id"]) for one in records} == {
        (100, 10),
        (100, 20),
        (101, 10),
        (102, 20),
        (103, 30),
        (104, 10),
    }
    reference = evaluate(_predictor(), index, EvaluateConfig(protocol="yolov5", data="coco.yaml"))
    reference.write_predictions_json(tmp_path / "r.json")
    records = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert {one["image_id"] for one in records} == {1, 2, 3, 4, "photo_b"}
    assert all(value == round(value, 3) for one in records for value in one["bbox"])


def test_json_has_the_numbers_on_top(index: SplitIndex, tmp_path: Path) -> None:
    result = evaluate(_predictor(), index, EvaluateConfig(protocol="yolov5"))
    path = tmp_path / "metrics.json"
    result.write_json(path)
    record = json.loads(path.read_text(encoding="utf-8"))
    assert [name for name in record if name in COCO_NUMBERS] == list(COCO_NUMBERS)
    assert record["ap50"] == result.numbers["ap50"]
    assert set(record["yolov5"]) == {"precision", "recall", "map50", "map"}
    assert record["per_class"][0]["name"] == "red"
    assert (record["images"], record["instances"]) == (5, 5)


@pytest.mark.parametrize("protocol", ["vedette", "yolov5"])
def test_a_real_network_measures_the_same_in_any_batch(index: SplitIndex, protocol: str) -> None:
    """vedette: only float32 rounding differs between batches. yolov5: other batches are other frames."""
    from vedette.infer.backends.pytorch import TorchBackend
    from vedette.model.detector import build_detector

    backend = TorchBackend(build_detector("tiny", classes=3), torch.device("cpu"), "float32")
    predictor = Predictor(backend, LetterboxPolicy((128, 128), 32, shape="minimal"), NAMES)
    settings = {"protocol": protocol, "conf_threshold": 1e-6, "max_detections": 20}
    single, together = (
        evaluate(predictor, index, EvaluateConfig.parse({**settings, "batch_size": size})) for size in (1, 5)
    )
    assert len(single.predictions.scores) == 100
    if protocol == "vedette":
        np.testing.assert_allclose(together.predictions.scores, single.predictions.scores, rtol=1e-3)
        assert together.numbers["ap"] == pytest.approx(single.numbers["ap"], abs=1e-3)
    else:
        assert together.reference is not None
        assert 0 <= together.reference.map <= together.reference.map50 <= 1


def _partly_measured(known: np.ndarray | None, seed: int = 3) -> Evaluation:
    """Random boxes of four classes; which ones are labelled in which picture, bool [n, 4]."""
    predictions, truth = draw(seed)
    if known is not None:
        truth = partly_labelled(truth, known)
    facts = {"timing": {}, "failed": (), "category_ids": (0, 1, 2, 3), "image_paths": ()}
    names = ("a", "b", "c", "d")
    return measure_boxes(predictions, truth, names, EvaluateConfig(), protocol={"name": "vedette"}, **facts)


def test_a_class_is_measured_on_the_pictures_in_which_it_is_labelled() -> None:
    """Class by class equal to measuring only those pictures; the rest might as well not be there."""
    predictions, truth = draw(3)
    known = np.random.default_rng(1).random((len(truth.image_ids), 4)) < 0.6
    result = _partly_measured(known)
    for number, figures in enumerate(result.per_class):
        chosen = np.flatnonzero(known[:, number])
        rows = [np.arange(*predictions.offsets[place : place + 2]) for place in chosen]
        found = Predictions(
            offsets_of([len(part) for part in rows]),
            *(
                getattr(predictions, name)[np.concatenate(rows)]
                for name in ("boxes_xyxy_px", "scores", "class_ids")
            ),
        )
        alone = coco_metrics(found, truth_of(_AsIndex(truth), chosen), ("a", "b", "c", "d"))
        if np.isnan(alone.ap[number]):
            assert figures.ap is None
        else:
            assert figures.ap == pytest.approx(alone.ap[number], abs=1e-12)
    assert len(result.predictions.scores) == len(predictions.scores), "what was found is still told"
    assert result.to_json()["partly_labelled_images"] == int((~known.all(axis=1)).sum())


class _AsIndex:
    """A Truth has the packed fields of an index."""

    partly_labelled = False

    def __init__(self, truth: Truth) -> None:
        self._truth = truth

    def __getattr__(self, name: str) -> object:
        return getattr(self._truth, name)


def test_with_everything_labelled_no_figure_changes() -> None:
    plain, marked = _partly_measured(None), _partly_measured(np.ones((30, 4), np.bool_))
    assert plain.numbers == marked.numbers
    assert plain.per_class == marked.per_class
    assert plain.confusion.counts.tolist() == marked.confusion.counts.tolist()
    assert plain.to_json()["partly_labelled_images"] == 0


def test_what_is_not_labelled_is_neither_missed_nor_wrong(index: SplitIndex) -> None:
    """Blue is found and labelled in one picture, green is found falsely in another."""
    known = np.ones((2, 3), np.bool_)
    known[1, 1] = False
    partly = replace(index, labelled_sets=known, labelled_set_ids=np.array([0, 0, 1, 1, 0]))
    plain, result = (
        evaluate(_predictor(), index, EvaluateConfig()),
        evaluate(_predictor(), partly, EvaluateConfig()),
    )
    assert plain.per_class[1].precision == 0.5
    assert result.per_class[1].precision == 1.0
    assert result.confusion.counts[3].sum() == 0
    assert (result.background_images, result.fp_per_background_image) == (1, 0.0)
    known[1] = [True, True, False]
    hidden = evaluate(_predictor(), partly, EvaluateConfig())
    assert (hidden.per_class[2].instances, hidden.per_class[2].ap) == (0, None)
    assert hidden.confusion.counts[2].sum() == 0
    single = evaluate(_predictor(), partly, EvaluateConfig(single_cls=True))
    assert [(one.instances, one.images) for one in single.per_class] == [(4, 3)]


@pytest.mark.parametrize("protocol", ["vedette", "yolov5"])
def test_lanes_change_no_figure(index: SplitIndex, protocol: str) -> None:
    def found(lanes: int) -> Evaluation:
        settings = EvaluateConfig(protocol=protocol, batch_size=1, lanes=lanes)  # type: ignore[arg-type]
        return evaluate(_predictor(), index, settings)

    one, several = found(1), found(3)
    assert one.numbers == several.numbers
    assert one.image_paths == several.image_paths
    for name in ("boxes_xyxy_px", "scores", "class_ids", "offsets"):
        np.testing.assert_array_equal(getattr(one.predictions, name), getattr(several.predictions, name))


def test_who_watches_sees_each_batch_before_the_next(index: SplitIndex) -> None:
    class Listening(ColourBackend):
        def run(self, frames):  # type: ignore[no-untyped-def]
            order.append("network")
            return super().run(frames)

    order: list[str] = []
    predictor = Predictor(Listening(len(NAMES)), LetterboxPolicy((128, 128), 32), NAMES, NmsSettings())
    settings = EvaluateConfig(batch_size=1, lanes=3)
    evaluate(predictor, index, settings, watch=lambda _: order.append("watch"))
    assert order == ["network", "watch"] * len(PICTURES)
