"""A run folder remembers which run of a tracker's it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from vedette.track.run_identity import (
    forget_identities,
    read_identity,
    tracking_folder,
    write_identity,
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tracking_folder(tmp_path) / "wandb.json"
    write_identity(path, {"id": "a"})
    write_identity(path, {"id": "b"})
    assert read_identity(path) == {"id": "b"}
    assert [entry.name for entry in path.parent.iterdir()] == ["wandb.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b'{"id": 3}'])
def test_what_cannot_be_read_is_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "wandb.json"
    path.write_bytes(content)
    assert read_identity(path) == {}
    assert read_identity(tmp_path / "gone.json") == {}


def test_a_new_run_in_a_used_folder_starts_afresh(tmp_path: Path) -> None:
    write_identity(tracking_folder(tmp_path) / "wandb.json", {"id": "a"})
    (tmp_path / "events.out.tfevents.1.host.2").write_bytes(b"curves")
    offline = tracking_folder(tmp_path) / "wandb" / "offline-run-1" / "run.wandb"
    offline.parent.mkdir(parents=True)
    offline.write_bytes(b"not sent yet")
    forget_identities(tmp_path)
    assert not list(tmp_path.glob("events*"))
    assert [path.name for path in tracking_folder(tmp_path).iterdir()] == ["wandb"]
    assert offline.exists(), "what was not sent is not ours to delete"
