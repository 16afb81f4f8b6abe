"""Core ML: packages convert everywhere; their program is run here by torch, and by Core ML itself only on a Mac."""

import shutil
import sys

import pytest
import torch

from tests.export import six_shapes, small
from vedette.checkpoint.deployable import save_detector
from vedette.config.export import ExportConfig
from vedette.errors import CheckpointError, UsageError
from vedette.export.formats import check_features, find_format
from vedette.export.run import export as run_export
from vedette.infer.backends.coreml import read_coreml
from vedette.infer.backends.files import open_file
from vedette.infer.backends.pytorch import TorchBackend

pytest.importorskip(
    "coremltools",
    reason="coremltools is not installed; `make test-export` installs it",
    exc_type=ImportError,
)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

# Another order of additions in float32.
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def detector():
    return small.detector()


def export(detector, folder, **changes):
    path = folder / "small.mlpackage"
    changes = {"batch_size": 1, **changes}
    find_format("coreml").writer()(small.job("coreml", detector, **changes), path)
    return path


@pytest.fixture(scope="module")
def package(detector, tmp_path_factory):
    return export(detector, tmp_path_factory.mktemp("coreml"), frame_hw=(64, 64))


def difference(path, detector, shape):
    from tests.export.mil_program import run_package

    frames = small.frames(*shape)
    expected = TorchBackend(detector).levels(frames)
    found = run_package(path, frames)
    planes = [level.permute(0, 1, 4, 2, 3).flatten(1, 2) for level in expected]
    assert [plane.shape for plane in planes] == [array.shape for array in found]
    pairs = zip(planes, map(torch.from_numpy, found), strict=True)
    return max(float((plane - array).abs().max()) for plane, array in pairs)


def test_the_program_gives_what_pytorch_gives(package, detector):
    assert difference(package, detector, (1, 64, 64)) < TOLERANCE


def test_an_open_size_is_open(detector, tmp_path):
    path = export(detector, tmp_path)
    for shape in ((1, 64, 96), (1, 128, 64)):
        assert difference(path, detector, shape) < TOLERANCE


@pytest.mark.parametrize("shape", six_shapes.SHAPES, ids=str)
def test_one_frame_of_each_size_is_converted_and_several_are_refused(detector, tmp_path, shape):
    batch, *size_hw = shape
    options = {"batch_size": batch, "image_size": tuple(size_hw)}
    if batch > 1:
        with pytest.raises(UsageError, match="coreml cannot be written with several frames at once"):
            six_shapes.exported("coreml", detector, tmp_path, **options)
        assert [path.name for path in tmp_path.iterdir()] == ["small.safetensors"]
        return
    result = six_shapes.exported("coreml", detector, tmp_path, **options)
    assert difference(result.path, detector, shape) < TOLERANCE


def test_one_file_takes_one_frame_of_any_size(detector, tmp_path):
    result = six_shapes.exported("coreml", detector, tmp_path, dynamic="size")
    for size_hw in six_shapes.SIZES:
        assert difference(result.path, detector, (1, *size_hw)) < TOLERANCE
    for dynamic in ("all", "batch"):
        with pytest.raises(UsageError, match="coreml cannot be written with any batch size"):
            six_shapes.exported("coreml", detector, tmp_path, dynamic=dynamic)


def test_half_precision_takes_half_the_space(package, detector, tmp_path):
    half = export(detector, tmp_path, frame_hw=(64, 64), precision="fp16")
    weights = "Data/com.apple.CoreML/weights/weight.bin"
    assert (half / weights).stat().st_size < 0.6 * (package / weights).stat().st_size
    # Weights are rounded to 11 bits; the arithmetic, which Core ML does in fp16 too, is float32 here.
    assert TOLERANCE < difference(half, detector, (1, 64, 64)) < 0.1


def test_the_input_is_a_picture_and_the_contract_is_in_the_metadata(package, detector):
    import coremltools

    description = coremltools.models.MLModel(str(package), skip_model_load=True).get_spec().description
    assert description.input[0].type.WhichOneof("Type") == "imageType"
    contract, files = read_coreml(package)
    assert contract == small.job("coreml", detector, batch_size=1, frame_hw=(64, 64)).contract
    assert sorted(files) == sorted(
        file.relative_to(package).as_posix() for file in package.rglob("*") if file.is_file()
    )


def test_several_frames_at_once_are_refused_with_the_reason():
    for feature in ("several frames at once", "any batch size", "int8", "cells"):
        with pytest.raises(UsageError, match=f"cannot be written with {feature}"):
            check_features(find_format("coreml"), (feature,))


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML runs here")
def test_elsewhere_than_on_a_mac_it_says_so(package):
    with pytest.raises(UsageError, match="run on Apple's systems only"):
        open_file(package)


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML runs here")
def test_elsewhere_the_file_is_written_and_the_report_says_that_it_is_not_verified(detector, tmp_path):
    weights = tmp_path / "small.safetensors"
    save_detector(
        weights,
        detector,
        class_names=small.NAMES,
        letterbox=small.letterbox(detector, (64, 64)),
        metadata={},
    )
    report = run_export(ExportConfig(weights=str(weights), formats=("coreml",)))
    (result,) = report.formats
    assert report.exit_code == 0
    assert result.verification is None
    assert (
        result.unverified == "its runtime is for macOS only; verify it there: vedette verify small.mlpackage"
    )
    contract, _ = read_coreml(result.path)
    assert contract.golden is not None, "what to verify by travels with the file"


@pytest.mark.skipif(sys.platform != "darwin", reason="Core ML runs on a Mac only")
def test_core_ml_gives_what_pytorch_gives(package, detector):
    backend = open_file(package, device="cpu").backend
    assert small.greatest_difference(backend, detector, (1, 64, 64)) < TOLERANCE


WEIGHTS = b"@model_path/weights/weight.bin"
CHANGES = {
    "weights elsewhere": lambda raw: raw.replace(WEIGHTS, b"@model_path/../../../etc/passw"),
    "no contract": lambda raw: raw.replace(b"\x07vedette", b"\x07veXette"),
    "no model": lambda raw: b"\xff" * len(raw),
    "another kind of model": lambda raw: b"\x08\x07",
}


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_foreign_and_damaged_packages_are_refused(package, tmp_path, name):
    copy = tmp_path / "changed.mlpackage"
    shutil.copytree(package, copy)
    read_coreml(copy)  # the negative control: unchanged, it is accepted
    model = copy / "Data/com.apple.CoreML/model.mlmodel"
    changed = CHANGES[name](model.read_bytes())
    assert changed != model.read_bytes()
    model.write_bytes(changed)
    with pytest.raises(CheckpointError):
        read_coreml(copy)
