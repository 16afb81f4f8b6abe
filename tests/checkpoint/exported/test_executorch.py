import pytest

from tests.checkpoint.contracts import small_contract
from vedette.checkpoint.exported.executorch import PROGRAM_FILE, read_executorch
from vedette.errors import CheckpointError

PROGRAM = b"\x10\0\0\0ET12" + bytes(100)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "vedette.json").write_text(small_contract(format="executorch").to_json())
    (tmp_path / PROGRAM_FILE).write_bytes(PROGRAM)
    return tmp_path


def test_contract_and_program_come_back(folder):
    exported = read_executorch(folder)
    assert exported.contract == small_contract(format="executorch")
    assert exported.parts == {"model": PROGRAM}


@pytest.mark.parametrize("content", [b"", b"ET12", b"\x10\0\0\0TFL3"])
def test_another_file_is_refused(folder, content):
    (folder / PROGRAM_FILE).write_bytes(content)
    with pytest.raises(CheckpointError, match="no program of ExecuTorch"):
        read_executorch(folder)


def test_a_folder_without_a_program_or_contract_is_refused(folder):
    (folder / PROGRAM_FILE).unlink()
    with pytest.raises(CheckpointError, match=r"model\.pte"):
        read_executorch(folder)
    (folder / "vedette.json").unlink()
    with pytest.raises(CheckpointError, match="was not exported by vedette"):
        read_executorch(folder)
