"""LiteRT: a file that gives what PyTorch gives; needs the packages of `export-litert` (make test-export)."""

import io
import struct
import zipfile

import pytest

from tests.export import six_shapes, small
from vedette.checkpoint.exported.litert import read_litert
from vedette.errors import CheckpointError, UsageError
from vedette.export.formats import check_features, find_format
from vedette.infer.backends.files import open_file

for package in ("litert_torch", "ai_edge_litert"):
    pytest.importorskip(package, reason=f"{package} is not installed; `make test-export` installs it")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def detector():
    return small.detector()


def export(detector, folder, size_hw, **changes):
    path = folder / "small.tflite"
    letterbox = small.letterbox(detector, size_hw)
    job = small.job("litert", detector, frame_hw=size_hw, letterbox=letterbox, **changes)
    find_format("litert").writer()(job, path)
    return path


@pytest.fixture(scope="module")
def file(detector, tmp_path_factory):
    return export(detector, tmp_path_factory.mktemp("litert"), (64, 96))


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_any_batch_gives_what_pytorch_gives(file, detector, batch):
    assert (
        small.greatest_difference(open_file(file, threads=1).backend, detector, (batch, 64, 96))
        < small.TOLERANCE
    )


def test_planes_and_a_fixed_batch(detector, tmp_path):
    path = export(detector, tmp_path, (96, 64), batch_size=7, output="planes")
    assert small.greatest_difference(open_file(path).backend, detector, (7, 96, 64)) < small.TOLERANCE


@pytest.mark.parametrize("shape", six_shapes.SHAPES, ids=str)
def test_a_file_for_each_shape_gives_what_pytorch_gives(detector, tmp_path, shape):
    assert six_shapes.fixed_file_differs("litert", detector, shape, tmp_path) < six_shapes.TOLERANCE


def test_a_file_of_each_size_takes_all_batches_and_no_other_size(detector, tmp_path):
    found = six_shapes.open_file_differs("litert", detector, tmp_path, "batch")
    assert list(found) == list(six_shapes.SHAPES)
    assert max(found.values()) < six_shapes.TOLERANCE
    before = sorted(tmp_path.rglob("*"))
    for dynamic in ("all", "size"):
        with pytest.raises(UsageError, match="cannot be written with any image size"):
            six_shapes.exported("litert", detector, tmp_path, dynamic=dynamic)
    assert [path.suffix for path in sorted(tmp_path.rglob("*")) if path not in before] == [".safetensors"]


def test_any_unzip_finds_the_contract(file, detector):
    with zipfile.ZipFile(file) as archive:
        assert archive.namelist() == ["vedette.json"]
    assert read_litert(file).contract.class_names == small.NAMES


def test_no_trace_of_the_machine_is_in_the_file(file):
    assert b".py" not in file.read_bytes()
    assert b"site-packages" not in file.read_bytes()


def test_what_it_cannot_do_is_refused_with_the_reason():
    for feature in ("any image size", "int8", "fp16", "bf16", "predictions", "detections"):
        with pytest.raises(UsageError, match=f"cannot be written with {feature}"):
            check_features(find_format("litert"), (feature,))


def test_hostile_files_are_refused(file, tmp_path):
    raw = file.read_bytes()
    model = len(read_litert(file).parts["model"])
    foreign = io.BytesIO(raw[:model])
    with zipfile.ZipFile(foreign, "a") as archive:
        archive.writestr("labels.txt", "cat")
    changed = {
        "other.tflite": raw[:4] + b"TFL9" + raw[8:],
        "no_contract.tflite": raw[:model],
        "foreign.tflite": foreign.getvalue(),
        "root.tflite": struct.pack("<I", 2**31) + raw[4:],
        "version.tflite": _with_changed_number(raw, field=0, value=9),
        "operator.tflite": _with_changed_operator(raw, 32),  # CUSTOM
    }
    for name, content in changed.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError):
            open_file(tmp_path / name)


def _place(raw, table, field):
    """Where a field of a table is; None without it."""
    names = table - struct.unpack_from("<i", raw, table)[0]
    if 4 + 2 * field >= struct.unpack_from("<H", raw, names)[0]:
        return None
    offset = struct.unpack_from("<H", raw, names + 4 + 2 * field)[0]
    return table + offset if offset else None


def _with_changed_number(raw, field, value):
    changed = bytearray(raw)
    struct.pack_into("<I", changed, _place(raw, struct.unpack_from("<I", raw, 0)[0], field), value)
    return bytes(changed)


def _with_changed_operator(raw, value):
    """The first operator code of the model, in both of its fields: the greater one counts."""
    place = _place(raw, struct.unpack_from("<I", raw, 0)[0], 1)
    vector = place + struct.unpack_from("<I", raw, place)[0]
    code = vector + 4 + struct.unpack_from("<I", raw, vector + 4)[0]
    changed = bytearray(raw)
    for field, form in ((0, "<b"), (3, "<i")):
        where = _place(raw, code, field)
        if where is not None:
            struct.pack_into(form, changed, where, value)
    assert bytes(changed) != raw
    return bytes(changed)
