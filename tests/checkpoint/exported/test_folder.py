import pytest

from tests.checkpoint.contracts import small_contract
from vedette.checkpoint.exported.folder import read_folder_contract
from vedette.errors import CheckpointError


def test_contract_of_a_folder(tmp_path):
    contract = small_contract(format="ncnn")
    (tmp_path / "vedette.json").write_text(contract.to_json(), encoding="ascii")
    assert read_folder_contract(tmp_path, ("ncnn",)) == contract
    with pytest.raises(CheckpointError, match="belongs to a file of format 'ncnn'"):
        read_folder_contract(tmp_path, ("coreml",))


def test_folder_without_a_contract(tmp_path):
    with pytest.raises(CheckpointError, match="was not exported by vedette"):
        read_folder_contract(tmp_path, ("ncnn",))
    (tmp_path / "vedette.json").mkdir()
    with pytest.raises(CheckpointError, match="no regular file"):
        read_folder_contract(tmp_path, ("ncnn",))
