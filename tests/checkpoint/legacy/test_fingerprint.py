from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from vedette.checkpoint.legacy.fingerprint import sha256_of
from vedette.errors import CheckpointError


def test_it_is_that_of_the_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    (tmp_path / "a.pt").write_bytes(content)
    assert sha256_of(tmp_path / "a.pt") == hashlib.sha256(content).hexdigest()


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.pt: no such file; name the \.pt file"):
        sha256_of(tmp_path / "none.pt")
    with pytest.raises(CheckpointError, match="is no regular file"):
        sha256_of(tmp_path)
    with pytest.raises(CheckpointError, match=r"no such file|cannot be read"):
        sha256_of(Path("a\0.pt"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_nobody_waits_for_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="is no regular file"):
        sha256_of(tmp_path / "a.pt")
