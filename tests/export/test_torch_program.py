"""Programs of torch.export, and packages of AOTInductor: right, and opened only where they were written."""

import contextlib
import io
import os
import pickle
import shutil
import sys
import warnings
import zipfile

import numpy as np
import pytest
import torch

from tests.export import six_shapes, small
from vedette.checkpoint.exported import record
from vedette.checkpoint.exported.pt2 import read_pt2
from vedette.data.cache_folder import CACHE_VARIABLE
from vedette.errors import CheckpointError, ModelError, UsageError, WriteError
from vedette.export.formats import check_features, find_format
from vedette.infer.backends.files import open_file


@pytest.fixture(scope="module")
def detector():
    return small.detector()


@pytest.fixture(scope="module")
def program(detector, tmp_path_factory):
    path = tmp_path_factory.mktemp("program") / "small.pt2"
    find_format("torch-export").writer()(small.job("torch-export", detector), path)
    return path


@pytest.mark.parametrize("shape", small.SHAPES, ids=str)
def test_any_batch_and_size_give_what_pytorch_gives(program, detector, shape):
    assert small.greatest_difference(open_file(program).backend, detector, shape) < small.TOLERANCE


def test_large_frames_give_what_pytorch_gives(program, detector):
    backend = open_file(program).backend
    for shape in six_shapes.SHAPES:
        assert small.greatest_difference(backend, detector, shape) < six_shapes.TOLERANCE, shape


@pytest.mark.long
@pytest.mark.parametrize("shape", six_shapes.SHAPES, ids=str)
def test_a_file_for_each_shape_gives_what_pytorch_gives(detector, tmp_path, shape):
    assert six_shapes.fixed_file_differs("torch-export", detector, shape, tmp_path) < six_shapes.TOLERANCE


def test_bf16_and_a_fixed_shape(detector, tmp_path):
    path = tmp_path / "small.pt2"
    job = small.job("torch-export", detector, batch_size=1, frame_hw=(64, 64), precision="bf16")
    find_format("torch-export").writer()(job, path)
    backend = open_file(path).backend
    assert backend.precision == "bf16"
    low, high = small.MEDIANS["bf16"]
    assert low < np.median(small.differences(backend, detector, (1, 64, 64))) < high
    with pytest.raises(ModelError, match="frames are"):
        backend.run(small.frames(1, 64, 96))


def test_no_trace_of_the_machine_is_in_the_file(program):
    with zipfile.ZipFile(program) as archive:
        graphs = [archive.read(name) for name in archive.namelist() if name.endswith(".json")]
    graph = max(graphs, key=len)
    assert b"conv2d" in graph
    assert b"stack_trace" not in graph
    assert b".py" not in graph


def test_a_file_of_another_machine_is_refused(program, monkeypatch, tmp_path):
    open_file(program)  # the negative control: here it is accepted
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache of another machine"))
    with pytest.raises(CheckpointError, match="not written by vedette on this machine"):
        open_file(program)


def test_a_single_changed_bit_is_refused(program, tmp_path):
    raw = bytearray(program.read_bytes())
    raw[len(raw) // 2] ^= 1
    changed = tmp_path / "changed.pt2"
    changed.write_bytes(raw)
    with pytest.raises(CheckpointError, match="not written by vedette"):
        open_file(changed)


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_hostile_program_is_refused_without_running_it(program, tmp_path):
    """The same file is opened by torch as the negative control, and goes off there."""
    with zipfile.ZipFile(program) as archive:
        if not any(name.endswith("model_constants_config.json") for name in archive.namelist()):
            pytest.skip("this version of torch has another layout of archives")
    mark = tmp_path / "gone-off"
    hostile = tmp_path / "hostile.pt2"
    with zipfile.ZipFile(program) as source, zipfile.ZipFile(hostile, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("model_constants_config.json"):
                content = (
                    b'{"config": {"bomb": {"path_name": "opaque_obj_0", "is_param": false, "use_pickle": true,'
                    b' "tensor_meta": null}}}'
                )
                bomb = name.replace("model_constants_config.json", "opaque_obj_0")
                target.writestr(zipfile.ZipInfo(bomb), pickle.dumps(Bomb(str(mark))))
            target.writestr(zipfile.ZipInfo(name), content)
    with pytest.raises(CheckpointError, match="not written by vedette"):
        open_file(hostile)
    assert not mark.exists()
    with warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        torch.export.load(io.BytesIO(hostile.read_bytes()))
    assert mark.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_a_record_that_others_can_write_is_not_believed(program, monkeypatch, tmp_path):
    folder = tmp_path / "cache"
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    record.record_written(program.read_bytes())
    read_pt2(program)
    os.chmod(folder / record.FOLDER, 0o777)  # noqa: PTH101
    with pytest.raises(CheckpointError, match="not written by vedette"):
        read_pt2(program)


def test_without_a_place_for_the_record_nothing_is_written(detector, monkeypatch, tmp_path):
    file = tmp_path / "a file"
    file.write_text("")
    monkeypatch.setenv(CACHE_VARIABLE, str(file / "cache"))
    with pytest.raises(WriteError):
        find_format("torch-export").writer()(small.job("torch-export", detector), tmp_path / "small.pt2")
    assert not (tmp_path / "small.pt2").exists()


def test_another_device_is_refused(program):
    with pytest.raises(UsageError, match="for the CPU"):
        open_file(program, device="cuda:0")


@pytest.mark.parametrize("name", ["torch-export", "aotinductor"])
def test_what_they_cannot_do_is_refused_with_the_reason(name):
    for feature in ("fp16", "int8", "detections"):
        with pytest.raises(UsageError, match=f"cannot be written with {feature}"):
            check_features(find_format(name), (feature,))


def test_a_network_cannot_be_compiled_without_a_compiler(detector, tmp_path):
    from torch._inductor import config

    path = tmp_path / "small.aoti.pt2"
    with (
        config.patch({"cpp.cxx": (str(tmp_path / "no compiler"),)}),
        pytest.raises(ModelError, match="install a C\\+\\+ compiler"),
    ):
        find_format("aotinductor").writer()(small.job("aotinductor", detector), path)
    assert not path.exists()


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_compiled_package_gives_what_pytorch_gives(detector, tmp_path, precision):
    path = tmp_path / "small.aoti.pt2"
    find_format("aotinductor").writer()(small.job("aotinductor", detector, precision=precision), path)
    backend = open_file(path).backend
    assert backend.precision == precision
    for shape in small.SHAPES:
        found = small.differences(backend, detector, shape)
        if precision == "float32":
            assert found.max() < small.TOLERANCE
        else:
            low, high = small.MEDIANS[precision]
            assert low < np.median(found) < high
    for shape in six_shapes.SHAPES if precision == "float32" else ():
        assert small.greatest_difference(backend, detector, shape) < six_shapes.TOLERANCE
    assert np.isfinite(backend.run(small.frames(3, 96, 96)).decoded()).all()
