import numpy as np
import pytest

from tests.export.exported_files import pictures
from tests.infer.colour_backend import NAMES, ColourBackend, picture
from vedette.checkpoint.contract import ExportContract, InputFormat, SourceCheckpoint, Thresholds
from vedette.core.letterbox import LetterboxPolicy
from vedette.core.nms import NmsSettings
from vedette.data.description import load_description
from vedette.data.images import decode_image
from vedette.data.index import load_index
from vedette.data.synthetic import draw_dataset
from vedette.errors import ImageError
from vedette.export.golden import COUNT, LONG_SIDE, candidates, golden_pictures
from vedette.infer.predictor import Predictor

POLICY = LetterboxPolicy(size_hw=(160, 160))


def contract(**changes):
    values = {
        "format": "onnx",
        "class_names": NAMES,
        "letterbox": POLICY,
        "strides": (8, 16, 32),
        "anchors_px": (((4.0, 5.0),),) * 3,
        "input": InputFormat(),
        "output": "predictions",
        "precision": "float32",
        "frame_hw": (160, 160),
        "batch_size": 1,
        "nms": None,
        "thresholds": Thresholds(),
        "source": SourceCheckpoint("x", "0" * 64),
        "vedette_version": "0",
    }
    return ExportContract(**{**values, **changes})


def predictor():
    return Predictor(ColourBackend(), POLICY, NAMES)


@pytest.mark.parametrize("size_hw", [(640, 640), (384, 640), (160, 160)])
@pytest.mark.parametrize("shape", [(480, 640), (640, 640), (60, 200), (33, 30)])
def test_candidates_show_every_rule_of_the_letterbox(size_hw, shape, tmp_path):
    """All are padded; every other one is enlarged."""
    import cv2

    files = []
    for number in range(4):
        files.append(str(tmp_path / f"{number}.png"))
        cv2.imwrite(files[-1], np.zeros((*shape, 3), np.uint8))
    policy = LetterboxPolicy(size_hw=size_hw)
    for number, made in enumerate(candidates(files, None, policy)):
        assert max(made.shape[:2]) <= LONG_SIDE
        placed = policy.place(made.shape[:2])
        assert placed.resized_hw != placed.frame_hw
        if number % 2:
            assert placed.ratio_wh[0] > 1


def test_candidates_come_from_files_a_split_or_are_drawn(tmp_path):
    index = load_index(load_description(str(draw_dataset(tmp_path, train=2, val=30))), "val")
    assert len(candidates((), index, POLICY)) == 24
    drawn = candidates((), None, POLICY)
    assert len(drawn) == 12
    assert all(np.ptp(image) > 50 for image in drawn)
    with pytest.raises(ImageError, match="there is no such file"):
        candidates(("none.png",), None, POLICY)


def test_what_is_found_is_written_down():
    image = picture((90, 120), red=(10, 20, 60, 70))
    golden = golden_pictures([image], predictor(), contract())
    (stored,) = golden.pictures
    np.testing.assert_array_equal(decode_image(stored.png), image)
    (found,) = stored.detections
    assert found.class_name == "red"
    np.testing.assert_allclose(found.box_xyxy_px, (10, 20, 60, 70), atol=1)
    assert found.score == pytest.approx(0.9)
    assert golden.nms.conf_threshold == 0.25
    assert golden.contract_sha256 == contract().fingerprint()
    assert (stored.placement.frame_hw, stored.placement.pad_value) == ((160, 160), 114)


def test_pictures_with_boxes_go_first_and_both_sizes_are_there():
    nothing, something = picture((90, 120)), picture((90, 120), red=(10, 20, 60, 70))
    golden = golden_pictures([nothing, nothing, something, nothing, something], predictor(), contract())
    assert [len(stored.detections) for stored in golden.pictures] == [1, 0, 1]
    assert len(golden.pictures) == COUNT


def test_the_threshold_is_lowered_until_something_is_found():
    image = picture((90, 120), red=(10, 20, 60, 70))
    thresholds = Thresholds(conf_threshold=0.95)
    golden = golden_pictures([image], predictor(), contract(thresholds=thresholds))
    assert golden.nms.conf_threshold == 0.25
    assert len(golden.pictures[0].detections) == 1


def test_built_in_suppression_stays_as_it_is():
    nms = NmsSettings(conf_threshold=0.95, max_detections=7)
    image = picture((90, 120), red=(10, 20, 60, 70))
    golden = golden_pictures([image], predictor(), contract(nms=nms, output="detections"))
    assert golden.nms == nms
    assert golden.pictures[0].detections == ()


def test_order_of_pictures_is_kept_among_equals():
    images = [image[:, :, :] for image in pictures(3)]
    golden = golden_pictures(images, predictor(), contract())
    stored = [decode_image(part.png).shape for part in golden.pictures]
    assert stored == [images[0].shape, images[1].shape, images[2].shape]
