"""ExecuTorch: a folder that gives what PyTorch gives; needs the package of `export-executorch` (make test-export)."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.export import six_shapes, small
from vedette.errors import CheckpointError, ModelError, UsageError
from vedette.export.formats import check_features, find_format
from vedette.infer.backends.files import open_file

pytest.importorskip("executorch", reason="executorch is not installed; `make test-export` installs it")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def detector():
    return small.detector()


def export(detector, folder, shape, **changes):
    path = folder / f"small{shape[0]}_executorch_model"
    letterbox = small.letterbox(detector, shape[1:])
    job = small.job(
        "executorch", detector, batch_size=shape[0], frame_hw=shape[1:], letterbox=letterbox, **changes
    )
    find_format("executorch").writer()(job, path)
    return path


@pytest.fixture(scope="module")
def folder(detector, tmp_path_factory):
    return export(detector, tmp_path_factory.mktemp("executorch"), (2, 64, 96))


@pytest.mark.parametrize("shape", [shape for shape in small.SHAPES if shape[0] != 2], ids=str)
def test_a_file_of_one_shape_gives_what_pytorch_gives(detector, tmp_path, shape):
    backend = open_file(export(detector, tmp_path, shape)).backend
    assert small.greatest_difference(backend, detector, shape) < small.TOLERANCE


@pytest.mark.parametrize("shape", six_shapes.SHAPES, ids=str)
def test_a_file_for_each_shape_is_verified_and_gives_what_pytorch_gives(detector, tmp_path, shape):
    assert six_shapes.fixed_file_differs("executorch", detector, shape, tmp_path) < six_shapes.TOLERANCE


@pytest.mark.parametrize(
    ("dynamic", "feature"),
    [("all", "any batch size"), ("batch", "any batch size"), ("size", "any image size")],
)
def test_an_open_shape_is_refused_at_export(detector, tmp_path, dynamic, feature):
    with pytest.raises(UsageError, match=f"executorch cannot be written with {feature}"):
        six_shapes.exported("executorch", detector, tmp_path, dynamic=dynamic)
    assert [path.name for path in tmp_path.iterdir()] == ["small.safetensors"]


def test_several_threads_get_what_one_gets(folder, detector):
    backend = open_file(folder).backend
    assert small.greatest_difference(backend, detector, (2, 64, 96)) < small.TOLERANCE
    batches = [small.frames(2, 64, 96) + np.uint8(number) for number in range(6)]
    alone = [backend.run(frames).decoded() for frames in batches]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda frames: backend.run(frames).decoded(), batches))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


def test_decoded_predictions_can_be_had(detector, tmp_path):
    path = export(detector, tmp_path, (1, 64, 64), output="predictions")
    assert small.greatest_difference(open_file(path).backend, detector, (1, 64, 64)) < small.TOLERANCE


def test_another_shape_is_refused(folder):
    backend = open_file(folder).backend
    for shape in ((1, 64, 96), (2, 64, 64)):
        with pytest.raises(ModelError, match="the file takes"):
            backend.run(small.frames(*shape))


def test_what_it_cannot_do_is_refused_with_the_reason():
    for feature in ("any batch size", "any image size", "int8", "fp16"):
        with pytest.raises(UsageError, match=f"cannot be written with {feature}"):
            check_features(find_format("executorch"), (feature,))


def test_no_trace_of_the_machine_is_in_the_program(folder):
    program = (folder / "model.pte").read_bytes()
    assert b".py" not in program
    assert b"site-packages" not in program


def test_damaged_programs_are_refused(folder, tmp_path):
    raw = (folder / "model.pte").read_bytes()
    for number, damaged in enumerate((b"", b"ET12", raw[:4] + b"XX" + raw[6:], raw[: len(raw) // 2])):
        copy = tmp_path / f"{number}_executorch_model"
        shutil.copytree(folder, copy)
        open_file(copy)  # the negative control: unchanged, it is accepted
        (copy / "model.pte").write_bytes(damaged)
        with pytest.raises(CheckpointError):
            open_file(copy)
