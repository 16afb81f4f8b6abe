"""Copies to a cloud folder go through the user's gsutil, and nothing else does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vedette.errors import UsageError, WriteError
from vedette.train.folder.bucket import open_bucket

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for gsutil is a shell script")


@pytest.fixture
def gsutil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program called gsutil that notes its arguments; returns the file it notes them in."""
    folder = tmp_path / "bin"
    folder.mkdir()
    notes = tmp_path / "calls"
    program = folder / "gsutil"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> "{notes}"\ncase "$*" in *forbidden*) echo "AccessDenied: 403" >&2; exit 1;; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return notes


def test_files_are_copied(gsutil: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b c.json"
    first.touch()
    second.touch()
    bucket = open_bucket("gs://mine/runs/")
    assert bucket is not None
    bucket.upload([first, second, tmp_path / "missing"], "exp/weights")
    bucket.upload([tmp_path / "missing"], "exp")
    bucket.download("exp/a.csv", tmp_path / "copy")
    assert gsutil.read_text().splitlines() == [
        f"cp {first} {second} gs://mine/runs/exp/weights/",
        f"cp gs://mine/runs/exp/a.csv {tmp_path / 'copy'}",
    ]


def test_a_bare_name_is_a_bucket(gsutil: Path) -> None:
    bucket = open_bucket("mine")
    assert bucket is not None
    assert bucket.address == "gs://mine"


def test_no_address_no_bucket() -> None:
    assert open_bucket("") is None


@pytest.mark.parametrize("address", ["-r", "gs://", "gs://a b", "s3://mine", "gs://mine/*", "../mine"])
def test_what_is_no_address_is_refused(gsutil: Path, address: str) -> None:
    with pytest.raises(UsageError, match="is no cloud folder"):
        open_bucket(address)


def test_a_failed_copy_says_why(gsutil: Path, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    bucket = open_bucket("gs://forbidden")
    assert bucket is not None
    with pytest.raises(WriteError, match=r"code 1 \(AccessDenied: 403\)"):
        bucket.upload([tmp_path / "a"], "exp")


def test_without_the_program_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="the program gsutil is not on the PATH"):
        open_bucket("gs://mine")
