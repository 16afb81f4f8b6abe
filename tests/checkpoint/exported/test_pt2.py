import io
import zipfile

import pytest

from tests.checkpoint.contracts import small_contract
from vedette.checkpoint.exported.pt2 import read_pt2, with_contract
from vedette.checkpoint.exported.record import record_written
from vedette.errors import CheckpointError


def archive():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as opened:
        opened.writestr("network/archive_format", "pt2")
    return stream.getvalue()


def test_what_was_recorded_is_read_and_nothing_else(tmp_path):
    contract = small_contract(format="aotinductor")
    content = with_contract(archive(), contract.to_json())
    path = tmp_path / "best.aoti.pt2"
    path.write_bytes(content)
    with pytest.raises(
        CheckpointError, match="not written by vedette on this machine; export its checkpoint here"
    ):
        read_pt2(path)
    record_written(content)
    exported = read_pt2(path)
    assert exported.contract == contract
    assert exported.parts == {"model": content}


@pytest.mark.parametrize(
    "content",
    [b"no archive", archive(), with_contract(archive(), small_contract().to_json())],
    ids=["no archive", "no contract", "another format"],
)
def test_recorded_bytes_that_are_no_such_file_are_refused(tmp_path, content):
    path = tmp_path / "best.pt2"
    path.write_bytes(content)
    record_written(content)
    with pytest.raises(CheckpointError):
        read_pt2(path)
