import copy

import pytest
import torch

from tests.hub.small_model import NAMES
from vedette.errors import ModelError
from vedette.hub.autoshape import AutoShape
from vedette.hub.model import HubModel
from vedette.model.detector import build_detector


@pytest.fixture
def model():
    return HubModel(build_detector("tiny", classes=2, seed=3), NAMES).eval()


IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def test_evaluation_gives_decoded_and_raw(model):
    decoded, levels = model(IMAGES)
    assert decoded.shape == (2, 378, 7)
    assert [tuple(level.shape) for level in levels] == [(2, 3, 8, 12, 7), (2, 3, 4, 6, 7), (2, 3, 2, 3, 7)]
    torch.testing.assert_close(model.detector.head.decode(levels), decoded)


def test_training_gives_raw_levels_that_can_be_learned_from(model):
    levels = model.train()(IMAGES)
    sum(level.mean() for level in levels).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_augment_joins_three_views(model):
    decoded, levels = model(IMAGES, augment=True)
    assert levels is None
    assert decoded.shape[1] > 2 * 378


def test_v7_leaves_out_parts_of_two_views():
    """inference.md, section 4: one of 21 parts of the first view, 16 of the last."""
    rows = {}
    for name in ("yolov5n@v4.0", "yolov5n@v7.0"):
        model = HubModel(build_detector(name, classes=2), ("a", "b")).eval()
        with torch.no_grad():
            rows[name] = model(torch.zeros(1, 3, 96, 128), augment=True)[0].shape[1]
    views = [3 * (12 * 16 + 6 * 8 + 3 * 4), 3 * (12 * 16 + 6 * 8 + 3 * 4), 3 * (12 * 12 + 6 * 6 + 3 * 3)]
    assert rows["yolov5n@v4.0"] == sum(views)
    assert rows["yolov5n@v7.0"] == sum(views) - views[0] // 21 - views[2] // 21 * 16


def test_final_suppression_can_be_switched(model):
    found = model.nms()(IMAGES)
    assert [rows.shape[1] for rows in found] == [6, 6]
    assert isinstance(model.nms(False)(IMAGES), tuple)


def test_weights_are_named_and_counted_once(model):
    detector = build_detector("tiny", classes=2)
    assert list(model.state_dict()) == list(detector.state_dict())
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in detector.parameters())


def test_a_copy_is_a_model_of_its_own(model):
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert twin.detector.model is twin.model
    assert model(IMAGES)[0].isfinite().all()
    assert not torch.equal(twin(IMAGES)[0], model(IMAGES)[0])


def test_fusing_changes_the_layers_not_the_answer(model):
    before = model(IMAGES)[0]
    tensors = len(model.state_dict())
    assert model.fuse() is model
    assert len(model.state_dict()) < tensors
    torch.testing.assert_close(model(IMAGES)[0], before, atol=2e-3, rtol=1e-4)


def test_info_is_printed_and_returned(model, capsys):
    text = model.info()
    assert capsys.readouterr().out == f"{text}\n"
    assert text.startswith("tiny (v4.0): 25 layers, ")
    assert text.endswith("at 640 pixels, 2 classes")
    assert len(model.info(verbose=True, img_size=320).splitlines()) == 26


def test_attributes(model):
    assert (model.names, model.nc, model.stride.tolist()) == ({0: "red", 1: "blue"}, 2, [8, 16, 32])
    assert model.yaml["classes"] == 2
    assert isinstance(model.autoshape(), AutoShape)


def test_names_must_fit():
    with pytest.raises(ModelError, match="3 class names for 2 classes"):
        HubModel(build_detector("tiny", classes=2), ("a", "b", "c"))


def test_profile_prints_every_layer(model, capsys):
    model(IMAGES, profile=True)
    assert capsys.readouterr().out.splitlines()[-1].endswith("ms  in all")
    model(IMAGES)
    assert capsys.readouterr().out == ""
