import numpy as np
import pytest
import torch

from tests.checkpoint.legacy.published import filled_detector, save_release, small_architecture
from tests.hub.small_model import NAMES
from vedette.checkpoint.deployable import save_detector
from vedette.core.letterbox import LetterboxPolicy
from vedette.core.picture_format import PictureFormat
from vedette.errors import CheckpointError, ModelError, UsageError
from vedette.hub.autoshape import AutoShape
from vedette.hub.entry_points import RELEASES, create, custom, entry_point, load
from vedette.hub.model import HubModel
from vedette.model.detector import build_detector


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "yolov5n.safetensors"
    detector = build_detector("tiny", classes=2, seed=3)
    save_detector(path, detector, class_names=NAMES, letterbox=LetterboxPolicy(), metadata={})
    return path


QUIET = {"verbose": False, "device": "cpu"}


@pytest.mark.parametrize("name", RELEASES)
def test_names_mean_published_releases(name):
    with torch.device("meta"):
        pass
    from vedette.model.releases import architecture

    chosen = architecture(f"{name}@{RELEASES[name]}")
    assert (chosen.name, chosen.release) == (name, RELEASES[name])


def test_without_weights_a_model_is_made_from_its_name():
    model = create("yolov5n", pretrained=False, classes=3, channels=3, **QUIET)
    assert isinstance(model, AutoShape)
    assert (model.nc, model.names[2], model.yaml["release"]) == (3, "class2", "v7.0")
    bare = create("yolov5n", pretrained=False, autoshape=False, channels=1, release="v4.0", **QUIET)
    assert isinstance(bare, HubModel)
    assert bare.training
    assert bare.yaml["release"] == "v4.0"
    assert len(bare(torch.zeros(1, 1, 64, 64))) == 3


def test_entry_point_is_create_with_a_name():
    point = entry_point("yolov5n")
    assert point.__doc__.startswith("yolov5n. A published model.")
    assert point(False, 3, 4, False, False, "cpu").nc == 4


def test_pretrained_needs_a_file(tmp_path, monkeypatch, weights):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="downloads nothing"):
        create("yolov5n", **QUIET)
    monkeypatch.chdir(weights.parent)
    assert create("yolov5n", classes=2, **QUIET).names == {0: "red", 1: "blue"}


def test_other_classes_take_what_fits(weights):
    own = create("yolov5n", weights, classes=2, autoshape=False, **QUIET)
    other = create("yolov5n", weights, classes=5, autoshape=False, **QUIET)
    assert other.names[4] == "class4"
    given, taken = own.state_dict(), other.state_dict()
    differing = {name for name in taken if taken[name].shape != given[name].shape}
    assert differing == {f"model.24.m.{level}.{kind}" for level in range(3) for kind in ("weight", "bias")}
    assert all(torch.equal(taken[name], given[name]) for name in set(taken) - differing)


def test_other_channels_keep_the_names(weights):
    model = create("yolov5n", weights, channels=1, classes=2, autoshape=False, **QUIET)
    assert model.names == {0: "red", 1: "blue"}
    assert model.yaml["channels"] == 1


def test_custom_reads_a_file(weights, capsys):
    model = custom(weights, device="cpu")
    assert capsys.readouterr().out.startswith("tiny (v4.0): 25 layers")
    assert isinstance(model, AutoShape)
    assert model.names == {0: "red", 1: "blue"}
    assert not model.training
    assert custom(path_or_model=str(weights), autoshape=False, **QUIET).training
    custom(path=weights, _verbose=False, device=torch.device("cpu"))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("release", ["v4.0", "v7.0"])
def test_published_files_are_read_where_they_always_lay(tmp_path, monkeypatch, release):
    monkeypatch.chdir(tmp_path)
    detector = filled_detector(small_architecture(release))
    save_release(tmp_path / "yolov5s.pt", detector, stripped=True)
    for model in (create("yolov5s", classes=2, **QUIET), custom("yolov5s.pt", **QUIET)):
        assert model.names == {0: "cat", 1: "dog"}
        assert model.yaml["release"] == release
        assert model(torch.zeros(1, 3, 64, 64))[0].shape[2] == 7


def test_custom_takes_what_is_a_model_already(weights):
    detector = build_detector("tiny", classes=2)
    hub_model = HubModel(detector, NAMES)
    assert custom(detector, **QUIET).names == {0: "class0", 1: "class1"}
    assert custom(hub_model, autoshape=False, **QUIET) is hub_model
    assert custom({"model": AutoShape(hub_model)}, autoshape=False, **QUIET) is hub_model
    assert custom(hub_model, **QUIET).model is not hub_model  # fused: a copy


@pytest.mark.parametrize("path", [None, 7, {}, {"model": {"a": torch.zeros(1)}}, torch.nn.Identity()])
def test_custom_refuses_what_is_neither(path):
    with pytest.raises(UsageError, match="neither a file nor a model"):
        custom({} if path is None else path, **QUIET)


def test_mistakes_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        custom(tmp_path / "nowhere.safetensors", **QUIET)
    with pytest.raises(UsageError, match="no such device"):
        create("yolov5n", pretrained=False, device="cuda:99")
    with pytest.raises(ModelError, match=r"yolov5s6@v4\.0"):
        create("yolov5s6", pretrained=False, release="v4.0", **QUIET)


def test_load_finds_entry_points_by_name(weights):
    assert load("custom", path=weights, **QUIET).nc == 2
    assert load("yolov5n", pretrained=False, classes=1, autoshape=False, **QUIET).nc == 1
    with pytest.raises(UsageError, match="did you mean 'yolov5s'"):
        load("yolov5S1")


def test_a_model_of_other_pictures(tmp_path):
    """`custom` keeps what the checkpoint was trained on; files and arrays of it are read, 8-bit RGB is converted."""
    deep = PictureFormat(1, 16, (0, 4095))
    path = tmp_path / "deep.safetensors"
    detector = build_detector("tiny", classes=2, channels=1, seed=3)
    letterbox = LetterboxPolicy(size_hw=(64, 64), picture_format=deep)
    save_detector(path, detector, class_names=NAMES, letterbox=letterbox, metadata={})
    model = custom(str(path), **QUIET)
    model.conf = 1e-4
    image = np.random.default_rng(0).integers(0, 4096, (48, 64, 1)).astype(np.uint16)
    np.save(tmp_path / "a.npy", image)
    found = model([image, str(tmp_path / "a.npy"), image[..., 0], np.zeros((48, 64, 3), np.uint8)], size=64)
    assert found.s == (4, 1, 64, 64)
    assert len(found.xyxy[0])
    for twin in (1, 2):
        assert torch.equal(found.xyxy[0], found.xyxy[twin])
    assert [im.shape for im in found.ims] == [(48, 64, 3)] * 4
    assert found.ims[0].dtype == np.uint8
    assert found.render()[0].shape == (48, 64, 3)
    with pytest.raises(UsageError, match="values from"):
        model([np.zeros((48, 64, 3), np.uint16) + 1000], size=64)


def test_channels_fit_the_first_convolution(weights):
    """The published way leaves it at random values; here a grey picture gets the answer that it had."""
    plain = create("yolov5n", str(weights), classes=2, autoshape=False, **QUIET).eval()
    four = create("yolov5n", str(weights), classes=2, channels=4, autoshape=False, **QUIET).eval()
    assert four.picture_format == PictureFormat(4)
    grey = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        expected, found = plain(grey.expand(-1, 3, -1, -1))[0], four(grey.expand(-1, 4, -1, -1))[0]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    shaped = create("yolov5n", str(weights), classes=2, channels=4, **QUIET)
    with pytest.raises(UsageError, match=r"no picture of 4 channels of 8 bits; give uint8 \[H, W, 4\]"):
        shaped([np.zeros((48, 64, 3), np.uint8)])
