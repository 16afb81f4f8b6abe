"""A kept version outlives the file it was made from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vedette.track.kept_files import KeptFiles


@pytest.mark.parametrize("links", [True, False])
def test_a_version_stays_when_the_file_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:

        def refuse(*_: object) -> None:
            raise OSError("no hard links here")

        monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "last.safetensors"
    path.write_bytes(b"old")
    kept = KeptFiles(tmp_path / "kept")
    version = kept.keep(path)
    newer = tmp_path / "newer"
    newer.write_bytes(b"new")
    newer.replace(path)
    assert (version.read_bytes(), path.read_bytes()) == (b"old", b"new")
    assert version.suffix == ".safetensors"
    kept.release(version)
    kept.release(version)
    assert list((tmp_path / "kept").iterdir()) == []


def test_two_versions_have_two_names_and_all_can_be_cleared(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    path.write_bytes(b"content")
    kept = KeptFiles(tmp_path / "kept")
    assert kept.keep(path) != kept.keep(path)
    kept.clear()
    assert list((tmp_path / "kept").iterdir()) == []
    assert path.exists()


def test_a_file_that_is_gone_cannot_be_kept(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        KeptFiles(tmp_path / "kept").keep(tmp_path / "gone")
