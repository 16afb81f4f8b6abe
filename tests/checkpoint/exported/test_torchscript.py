import io
import zipfile

import pytest

from tests.checkpoint.contracts import small_contract
from tests.checkpoint.exported.test_torchscript_code import PLAIN
from vedette.checkpoint.exported.torchscript import pack_archive, read_torchscript, unpack_archive
from vedette.errors import CheckpointError

CONTRACT = small_contract(format="torchscript")
PARTS = {
    "data.pkl": b"\x80\x02.",
    "code/__torch__/vedette.py": PLAIN.encode(),
    "constants/0": b"\0" * 8,
    "constants.pkl": b"\x80\x02.",
    "version": b"3\n",
    "extra/vedette.json": CONTRACT.to_json().encode(),
}


def write(tmp_path, raw):
    path = tmp_path / "best.torchscript"
    path.write_bytes(raw)
    return path


def test_contract_and_an_archive_of_what_was_read(tmp_path):
    exported = read_torchscript(write(tmp_path, pack_archive(PARTS)))
    assert exported.contract == CONTRACT
    rest = {name: content for name, content in PARTS.items() if not name.startswith("extra/")}
    assert unpack_archive(exported.parts["model"]) == rest


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"code/__torch__/vedette.py": PLAIN.replace("torch.to", "torch.save").encode()}, "('save')"),
        ({"code/__torch__/other.py": b"import os\n"}, "('import')"),
        ({"code/__torch__/vedette.py": b"\xff"}, "not ASCII"),
        ({"code/run.sh": b""}, "'code/run.sh' among its code"),
        ({"evil.pkl": b"\x80\x02."}, "objects that no detector needs ('evil.pkl')"),
        (
            {"data.pkl": b"\x80\x02c__torch__.torch.classes.x\nY\n."},
            "objects that no detector needs ('data.pkl')",
        ),
        ({"extra/vedette.json": b"__import__('os')"}, "not readable JSON"),
        ({"extra/vedette.json": small_contract().to_json().encode()}, "format 'onnx'"),
    ],
)
def test_what_no_detector_needs_is_refused(changes, problem, tmp_path):
    with pytest.raises(CheckpointError) as caught:
        read_torchscript(write(tmp_path, pack_archive({**PARTS, **changes})))
    assert problem in str(caught.value)


def test_file_without_a_contract(tmp_path):
    parts = {name: content for name, content in PARTS.items() if not name.startswith("extra/")}
    with pytest.raises(CheckpointError, match="was not exported by vedette"):
        read_torchscript(write(tmp_path, pack_archive(parts)))


def test_other_archives_are_refused(tmp_path):
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 100_000_000)
    two_roots = io.BytesIO()
    with zipfile.ZipFile(two_roots, "w") as archive:
        archive.writestr("a/data.pkl", b"")
        archive.writestr("b/data.pkl", b"")
    twice = io.BytesIO()
    with zipfile.ZipFile(twice, "w") as archive:
        archive.writestr("a/data.pkl", b"")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a/data.pkl", b"x")
    for raw, problem in (
        (bomb.getvalue(), "unpacks to much more"),
        (two_roots.getvalue(), "is no archive of torch"),
        (twice.getvalue(), "or one twice"),
        (b"PK\x03\x04", "is no readable archive"),
        (pack_archive(PARTS)[:-30], "is no readable archive"),
        (pack_archive(PARTS).replace(b"torch.to", b"torch.xx", 1), "is no readable archive"),
    ):
        with pytest.raises(CheckpointError, match=problem):
            read_torchscript(write(tmp_path, raw))
