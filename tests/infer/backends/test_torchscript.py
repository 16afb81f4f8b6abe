import pytest

from vedette.checkpoint.exported.torchscript import CONTRACT_ENTRY, pack_archive, unpack_archive
from vedette.errors import CheckpointError, UsageError
from vedette.infer.backends.torchscript import open_torchscript


def test_facts(exports):
    backend = open_torchscript(exports.path("torchscript"), device="cpu")
    assert (backend.device, backend.precision, backend.classes) == ("cpu", "float32", 3)


def test_devices_and_precisions_that_are_not_there(exports):
    with pytest.raises(UsageError, match="there is no such device"):
        open_torchscript(exports.path("torchscript"), device="cuda:77")
    with pytest.raises(UsageError, match="was exported as float32"):
        open_torchscript(exports.path("torchscript"), device="cpu", precision="bf16")


def test_an_archive_that_cannot_run_is_refused(exports, tmp_path):
    parts = unpack_archive(exports.path("torchscript").read_bytes())
    broken = {name: content for name, content in parts.items() if not name.startswith("constants/")}
    assert CONTRACT_ENTRY in broken
    (tmp_path / "best.torchscript").write_bytes(pack_archive(broken))
    with pytest.raises(CheckpointError, match="torch cannot open it"):
        open_torchscript(tmp_path / "best.torchscript", device="cpu")
