import os
import sys

import pytest

from vedette.checkpoint.exported import record
from vedette.data.cache_folder import CACHE_VARIABLE
from vedette.errors import WriteError


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_only_what_was_recorded_is_known(cache):
    assert not record.was_written_here(b"one")
    assert not cache.exists(), "asking makes no folder"
    record.record_written(b"one")
    record.record_written(b"one")
    assert record.was_written_here(b"one")
    assert not record.was_written_here(b"two")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
@pytest.mark.parametrize("what", ["folder", "mark"])
def test_what_others_can_write_is_not_believed(cache, what):
    record.record_written(b"one")
    folder = cache / record.FOLDER
    place = folder if what == "folder" else next(folder.iterdir())
    os.chmod(place, 0o722)  # noqa: PTH101
    assert not record.was_written_here(b"one")


def test_without_a_place_it_says_so(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file" / "cache"))
    with pytest.raises(WriteError):
        record.prepare_record()
    assert not record.was_written_here(b"one")
    monkeypatch.setattr(record, "cache_folder", lambda: None)
    with pytest.raises(WriteError, match="set VEDETTE_CACHE_DIR"):
        record.prepare_record()
    assert not record.was_written_here(b"one")
