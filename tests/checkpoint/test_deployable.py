import contextlib
import copy
import errno
import os

import pytest
import torch

from tests.checkpoint.test_atomic import FailingDisk
from vedette.checkpoint import tensors as tensors_module
from vedette.checkpoint.atomic import AtomicWriter
from vedette.checkpoint.deployable import load_detector, save_detector
from vedette.checkpoint.tensors import read_tensors, weights_sha256, write_tensors
from vedette.core.letterbox import LetterboxPolicy
from vedette.core.picture_format import RGB8, PictureFormat
from vedette.errors import CheckpointError, WriteError
from vedette.model.detector import build_detector
from vedette.model.fuse import fuse
from vedette.model.releases import architecture

NAMES = ["red cell", "Thrombozyt ß", "白血球"]
LETTERBOX = LetterboxPolicy(size_hw=(320, 384), shape="minimal", pad_value=7)


@pytest.fixture(scope="module")
def detector():
    return build_detector("tiny", classes=3, seed=4)


@pytest.fixture
def saved(tmp_path, detector):
    path = tmp_path / "best.safetensors"
    save_detector(path, detector, class_names=NAMES, letterbox=LETTERBOX, metadata={"metrics": {"ap": 0.5}})
    return path


def rewrite(path, change_content=None, change_tensors=None):
    """The same file with a right checksum and other contents, as a stranger could make it."""
    tensors, content = read_tensors(path)
    content = copy.deepcopy(content)
    if change_content:
        change_content(content)
    if change_tensors:
        change_tensors(tensors)
    write_tensors(path, tensors, content)


def test_everything_comes_back(saved, detector):
    loaded = load_detector(saved)
    assert loaded.class_names == tuple(NAMES)
    assert loaded.letterbox == LETTERBOX
    assert loaded.metadata == {"metrics": {"ap": 0.5}}
    assert loaded.detector.architecture == detector.architecture
    assert not loaded.detector.training
    assert weights_sha256(loaded.detector.state_dict()) == weights_sha256(detector.state_dict())
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        ours, theirs = loaded.detector(images), copy.deepcopy(detector).eval()(images)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_loaded_detector_can_be_trained_further(saved):
    loaded = load_detector(saved).detector.train()
    sum(level.square().sum() for level in loaded(torch.rand(2, 3, 64, 64))).backward()
    parameters = list(loaded.parameters())
    assert all(parameter.grad is not None and not parameter.is_meta for parameter in parameters)
    assert not any(buffer.is_meta for buffer in loaded.buffers())


def test_the_header_says_what_the_file_is(saved, detector):
    _, content = read_tensors(saved)
    assert content["kind"] == "detector"
    assert content["schema_version"] == 1
    assert content["architecture"] == detector.architecture.to_dict()
    assert content["anchors_px"] == detector.head.anchors_px().tolist()
    assert content["letterbox"] == LETTERBOX.to_dict()


def test_loading_draws_no_random_number(saved):
    before = torch.get_rng_state()
    load_detector(saved)
    assert torch.equal(torch.get_rng_state(), before)


def test_half_precision_weights_are_stored_in_float32(tmp_path, detector):
    path = tmp_path / "half.safetensors"
    save_detector(path, copy.deepcopy(detector).half(), class_names=NAMES, letterbox=LETTERBOX, metadata={})
    assert all(
        tensor.dtype == torch.float32
        for tensor in load_detector(path).detector.state_dict().values()
        if tensor.is_floating_point()
    )


def first_weight(tensors):
    return next(name for name in tensors if name.endswith("weight") and tensors[name].dim() == 4)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda t: t.pop(first_weight(t)), r"1 tensors do not fit its architecture: missing model\."),
        (lambda t: t.update(intruder=torch.ones(1)), "unknown 'intruder'"),
        (
            lambda t: t.update({first_weight(t): torch.ones(2, 2)}),
            r"is float32 \[2, 2\] and should be float32 \[",
        ),
        (lambda t: t.update({first_weight(t): t[first_weight(t)].double()}), "is float64"),
        (lambda t: t.clear(), r"\d+ tensors do not fit its architecture: .* and \d+ more"),
    ],
)
def test_tensors_that_do_not_fit_are_named(saved, change, text):
    rewrite(saved, change_tensors=change)
    with pytest.raises(CheckpointError, match=text):
        load_detector(saved)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda c: c.update(kind="state"), "holds no detector"),
        (lambda c: c.pop("kind"), "holds no detector"),
        (lambda c: c.update(schema_version=2), "update vedette"),
        (lambda c: c.update(architecture=None), "lacks its architecture"),
        (lambda c: c.update(metadata=[]), "lacks its architecture or its metadata"),
        (lambda c: c["architecture"].pop("rows"), "rows"),
        (lambda c: c["architecture"]["rows"].clear(), "not accepted"),
        (lambda c: c["architecture"].update(bn_eps="x"), "bn_eps"),
        (lambda c: c["architecture"].update(width_multiple=0.5), "tensors do not fit"),
        (lambda c: c["letterbox"].update(size_hw=[0, 1]), "size_hw"),
        (lambda c: c.update(letterbox=3), "letterbox"),
        (lambda c: c.update(class_names=["a", "b"]), "2 class names for 3 classes"),
        (lambda c: c.update(class_names="abc"), "no class names for 3 classes"),
        (lambda c: c["class_names"].__setitem__(1, 5), "class name 1: is no text"),
        (lambda c: c["class_names"].__setitem__(1, "x" * 257), "class name 1: is no text"),
        (lambda c: c["class_names"].__setitem__(2, "a\nb"), "class name 2: holds a control character"),
        (lambda c: c["class_names"].__setitem__(2, "\x1b[31m"), "control character"),
    ],
)
def test_contents_that_make_no_sense_are_refused(saved, change, text):
    rewrite(saved, change_content=change)
    with pytest.raises(CheckpointError, match=text) as caught:
        load_detector(saved)
    assert str(saved) in caught.value.where


def test_a_large_architecture_over_few_tensors_gets_no_memory(saved, monkeypatch):
    big = architecture("yolov5x", classes=3).to_dict()
    rewrite(saved, change_content=lambda content: content.update(architecture=big))
    devices = set()
    monkeypatch.setattr(
        torch.nn.Conv2d, "reset_parameters", lambda self: devices.add(self.weight.device.type)
    )
    with pytest.raises(CheckpointError, match="tensors do not fit"):
        load_detector(saved)
    assert devices == {"meta"}


@pytest.mark.parametrize(
    ("names", "text"),
    [(["a"], "1 class names for 3"), (["a", "b", "c\x00"], "control"), (["a", "", "c"], "1 to 256")],
)
def test_bad_names_are_refused_on_writing(tmp_path, detector, names, text):
    with pytest.raises(CheckpointError, match=text):
        save_detector(tmp_path / "f", detector, class_names=names, letterbox=LETTERBOX, metadata={})
    assert list(tmp_path.iterdir()) == []


def test_a_fused_detector_is_not_saved(tmp_path, detector):
    with pytest.raises(CheckpointError, match="do not fit"):
        save_detector(tmp_path / "f", fuse(detector), class_names=NAMES, letterbox=LETTERBOX, metadata={})


def outcomes(disk, path, old, new):
    """What lies at ``path`` after a failure of the first call to the disk, the second, ... until a save gets through.

    "old" and "new" are the weights that load; "none": nothing loads.
    """

    def save(weights):
        save_detector(path, weights, class_names=NAMES, letterbox=LETTERBOX, metadata={})

    known = {weights_sha256(old.state_dict()): "old", weights_sha256(new.state_dict()): "new"}
    found, errors = [], []
    for number in range(1, 10_000):
        disk.fail_call(0)
        save(old)
        disk.fail_call(number)
        try:
            save(new)
        except (WriteError, OSError) as error:
            errors.append(error)
            try:
                found.append(known[weights_sha256(load_detector(path).detector.state_dict())])
            except CheckpointError:
                found.append("none")
            continue
        return found, errors
    raise AssertionError("the writer never got through")


SMALL_MODEL = """
nc: 3
depth_multiple: 1.0
width_multiple: 1.0
anchors:
  - [8,8, 12,20, 20,12]
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [8, 3, 2]]
head:
  - [[1], 1, Detect, [nc, anchors]]
"""


@pytest.fixture(scope="module")
def small_pair(tmp_path_factory):
    """Two detectors of three layers: few enough tensors that every single call to the disk can fail once."""
    path = tmp_path_factory.mktemp("model") / "small.yaml"
    path.write_text(SMALL_MODEL, encoding="utf-8")
    return [build_detector(str(path), seed=seed) for seed in (1, 2)]


@contextlib.contextmanager
def file_in_place(path, expected_bytes):
    """How not to do it: the negative control."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        yield AtomicWriter(descriptor)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS], ids=["ENOSPC", "EIO", "EROFS"])
def test_a_failure_of_any_call_leaves_the_old_or_the_new_detector(tmp_path, monkeypatch, small_pair, code):
    path = tmp_path / "best.safetensors"
    found, errors = outcomes(FailingDisk(monkeypatch, code), path, *small_pair)
    assert len(found) >= 20
    assert set(found) == {"old", "new"}
    assert found[-1] == "new"  # only flushing the folder comes after the renaming
    assert found.count("new") == 1
    assert all(isinstance(error, WriteError) and error.where == str(path) and error.fix for error in errors)
    assert list(tmp_path.iterdir()) == [path]


def test_the_fault_test_notices_a_checkpoint_written_in_place(tmp_path, monkeypatch, small_pair):
    disk = FailingDisk(monkeypatch)
    monkeypatch.setattr(tensors_module, "atomic_file", file_in_place)
    assert "none" in outcomes(disk, tmp_path / "best.safetensors", *small_pair)[0]


DEEP = PictureFormat(1, 16, (0, 4095))


@pytest.fixture
def deep(tmp_path):
    path = tmp_path / "deep.safetensors"
    network = build_detector("tiny", classes=3, channels=1)
    letterbox = LetterboxPolicy(size_hw=(64, 64), picture_format=DEEP)
    save_detector(path, network, class_names=NAMES, letterbox=letterbox, metadata={})
    return path


def test_the_picture_format_comes_back_under_a_schema_of_its_own(deep, saved):
    """A version that knows 8-bit RGB alone says "update vedette" instead of running on wrong pictures."""
    assert load_detector(deep).letterbox.picture_format == DEEP
    assert read_tensors(deep)[1]["schema_version"] == 2
    assert load_detector(saved).letterbox.picture_format == RGB8
    assert read_tensors(saved)[1]["schema_version"] == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(schema_version=1), "update vedette"),
        (lambda c: c["letterbox"].update(picture_format={"channels": 1}), "picture_format"),
        (lambda c: c["letterbox"]["picture_format"].update(bits=12), "must be 8 or 16"),
        (lambda c: c["letterbox"]["picture_format"].update(value_range=[0, 70000]), "value_range"),
        (lambda c: c["letterbox"]["picture_format"].update(channels=2), "colour_order|for 1 channels"),
        (lambda c: c["letterbox"].pop("picture_format"), "update vedette"),
    ],
)
def test_strangers_picture_formats_are_refused(deep, change, words):
    rewrite(deep, change)
    with pytest.raises(CheckpointError, match=words):
        load_detector(deep)


def test_a_network_of_other_channels_without_a_picture_format_means_8_bits(tmp_path):
    """Files of before there were picture formats, and imported ones."""
    path = tmp_path / "four.safetensors"
    save_detector(
        path,
        build_detector("tiny", classes=3, channels=4),
        class_names=NAMES,
        letterbox=LETTERBOX,
        metadata={},
    )
    assert load_detector(path).letterbox.picture_format == PictureFormat(4)

    def forget(content):
        content.update(schema_version=1, letterbox=LETTERBOX.to_dict())

    rewrite(path, forget)
    assert load_detector(path).letterbox.picture_format == PictureFormat(4)


def test_a_letterbox_for_other_channels_is_not_written(tmp_path, detector):
    letterbox = LetterboxPolicy(picture_format=PictureFormat(4, 16))
    with pytest.raises(CheckpointError, match="network is for 3 channels, its letterbox for 4"):
        save_detector(
            tmp_path / "a.safetensors", detector, class_names=NAMES, letterbox=letterbox, metadata={}
        )
