"""ncnn: a folder that gives what PyTorch gives; needs the packages of `export-ncnn` (make test-export)."""

import dataclasses
import json

import numpy as np
import pytest

from tests.export import six_shapes, small
from vedette.errors import CheckpointError, UsageError
from vedette.export.formats import check_features, find_format
from vedette.infer.backends.files import open_file

for package in ("pnnx", "ncnn"):
    pytest.importorskip(package, reason=f"{package} is not installed; `make test-export` installs it")


@pytest.fixture(scope="module")
def detector():
    return small.detector()


@pytest.fixture(scope="module")
def folder(detector, tmp_path_factory):
    path = tmp_path_factory.mktemp("ncnn") / "small_ncnn_model"
    find_format("ncnn").writer()(small.job("ncnn", detector), path)
    return path


@pytest.mark.parametrize("shape", small.SHAPES, ids=str)
def test_any_batch_and_size_give_what_pytorch_gives(folder, detector, shape):
    assert small.greatest_difference(open_file(folder).backend, detector, shape) < small.TOLERANCE


@pytest.mark.parametrize("shape", six_shapes.SHAPES, ids=str)
def test_a_file_for_each_shape_gives_what_pytorch_gives(detector, tmp_path, shape):
    assert six_shapes.fixed_file_differs("ncnn", detector, shape, tmp_path) < six_shapes.TOLERANCE


def test_one_file_for_all_shapes_gives_what_pytorch_gives(detector, tmp_path):
    found = six_shapes.open_file_differs("ncnn", detector, tmp_path, "all")
    assert list(found) == list(six_shapes.SHAPES)
    assert max(found.values()) < six_shapes.TOLERANCE


def test_half_weights_take_half_the_space(folder, detector, tmp_path):
    path = tmp_path / "half_ncnn_model"
    find_format("ncnn").writer()(small.job("ncnn", detector, precision="fp16"), path)
    sizes = [sum(file.stat().st_size for file in place.glob("*.bin")) for place in (path, folder)]
    assert sizes[0] < 0.6 * sizes[1]
    low, high = small.MEDIANS["fp16"]
    assert low < np.median(small.differences(open_file(path).backend, detector, (2, 64, 96))) < high


def test_a_folder_holds_three_files_and_no_trace_of_the_machine(folder):
    assert sorted(file.name for file in folder.iterdir()) == [
        "model.ncnn.bin",
        "model.ncnn.param",
        "vedette.json",
    ]
    assert b"/" not in (folder / "model.ncnn.param").read_bytes()


def test_another_device_is_refused(folder):
    with pytest.raises(UsageError, match="runs on the CPU"):
        open_file(folder, device="cuda:0")


def test_what_it_cannot_do_is_refused_with_the_reason():
    with pytest.raises(UsageError, match="--outputs planes"):
        check_features(find_format("ncnn"), ("cells",))


def test_a_changed_weight_is_seen_in_the_boxes(folder, detector, tmp_path):
    copy = tmp_path / "changed_ncnn_model"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    weights = bytearray((copy / "model.ncnn.bin").read_bytes())
    weights[4:404] = np.ones(100, np.float32).tobytes()
    (copy / "model.ncnn.bin").write_bytes(weights)
    assert small.greatest_difference(open_file(copy).backend, detector, (1, 64, 64)) > small.TOLERANCE


HOSTILE = {
    "a layer of another kind": (r"\nSwish ", "\nRecurrent "),
    "more weights than shapes ask for": ("6=", "6=1"),
    "a blob that nobody makes": (" in0 1 ", " in9 1 "),
    "a setting that is no number": (" 5=1 6=", " -23309=2,1,2 5=1 6="),
    "another number of layers": ("7767517\n", "7767517\n1"),
    "maps that do not fit together": ("1=2.0 2=2.0", "1=3.0 2=2.0"),
    "no graph": ("7767517", "7767518"),
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_graph_is_refused(folder, tmp_path, name):
    import re

    pattern, text = HOSTILE[name]
    copy = tmp_path / "hostile_ncnn_model"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    open_file(copy)  # the negative control: unchanged, it is accepted
    graph = (copy / "model.ncnn.param").read_text()
    changed = re.sub(pattern, text, graph, count=1)
    assert changed != graph
    (copy / "model.ncnn.param").write_text(changed)
    with pytest.raises(CheckpointError):
        open_file(copy)


def test_weights_of_another_length_are_refused(folder, tmp_path):
    copy = tmp_path / "short_ncnn_model"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "model.ncnn.bin").write_bytes((folder / "model.ncnn.bin").read_bytes() + b"\0\0\0\0")
    with pytest.raises(CheckpointError, match="its layers take"):
        open_file(copy)


def test_a_contract_of_another_network_is_refused(folder, detector, tmp_path):
    copy = tmp_path / "other_ncnn_model"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    contract = dataclasses.replace(
        small.job("ncnn", detector).contract, class_names=("cat", "dog", "horse")
    ).to_dict()
    (copy / "vedette.json").write_text(json.dumps(contract))
    with pytest.raises(CheckpointError, match="other maps than its contract says"):
        open_file(copy)
