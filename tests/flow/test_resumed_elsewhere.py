"""A run that was begun elsewhere sends nothing away when it is resumed here, and ends in the same bits."""

from __future__ import annotations

import http.server
import importlib.util
import json
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.flow.conftest import draw_rectangles
from tests.flow.small_runs import MODEL
from tests.flow.test_distributed import Torchrun
from vedette.cli.app import main
from vedette.data.cache_folder import CACHE_VARIABLE


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command that begins a small run."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    data = draw_rectangles(tmp_path / "data", train=6, val=2, size=32)
    (tmp_path / "small.yaml").write_text(MODEL, encoding="utf-8")
    return [
        "train", "--data", str(data), "--cfg", str(tmp_path / "small.yaml"), "--img", "32", "--batch", "2",
        "--epochs", "1", "--device", "cpu", "--precision", "float32", "--noval", "--noplots", "--threads", "1",
        "--workers", "0", "--project", str(tmp_path / "runs"),
    ]  # fmt: skip


@pytest.fixture
def sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program called gsutil that notes what it is asked to copy; returns the file it notes it in."""
    if sys.platform == "win32":
        pytest.skip("the stand-in for gsutil is a shell script")
    program, notes = tmp_path / "bin" / "gsutil", tmp_path / "sent"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> "{notes}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    return notes


def summary(folder: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((folder / "summary.json").read_text("utf-8"))
    return content


def test_a_bucket_is_used_where_the_run_was_begun_or_if_it_is_named(
    train: list[str],
    sent: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = tmp_path / "runs"
    assert main([*train, "--bucket", "gs://mine"]) == 0
    assert len(sent.read_text().splitlines()) == 2
    assert main(["train", "--resume", "--project", str(runs), "--epochs", "2"]) == 0
    assert len(sent.read_text().splitlines()) == 4, "begun here: the negative control"
    assert summary(runs / "exp")["left_off"] == []
    shutil.copytree(runs / "exp", tmp_path / "twin")

    sent.unlink()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache of another machine"))
    capsys.readouterr()
    assert main(["train", "--resume", "--project", str(runs), "--epochs", "3"]) == 0
    assert not sent.exists()
    assert summary(runs / "exp")["left_off"] == ["bucket"]
    said = capsys.readouterr().out
    assert "left off: bucket 'gs://mine'. To use it, name it again" in said
    assert "left off, see the warning above: bucket" in said

    assert main(["train", "--resume", str(tmp_path / "twin"), "--epochs", "3", "--bucket", "gs://mine"]) == 0
    assert len(sent.read_text().splitlines()) == 2
    assert summary(tmp_path / "twin")["left_off"] == []
    same = [summary(folder)["weights_sha256"] for folder in (runs / "exp", tmp_path / "twin")]
    assert same[0] == same[1]


@pytest.mark.long
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_on_two_ranks_as_on_one(
    train: list[str], sent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "runs" / "exp"
    assert main([*train, "--bucket", "gs://mine"]) == 0
    sent.unlink()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache of another machine"))
    output = Torchrun(["vedette", "train", "--resume", str(folder), "--epochs", "2"]).output()
    assert summary(folder)["left_off"] == ["bucket"], output
    assert output.count("To use it, name it again") == 1
    assert not sent.exists()


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """A server that notes what is asked of it and refuses everything; its address, and the notes."""
    asked: list[str] = []

    class Refusal(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(403)

        do_POST = do_GET  # noqa: N815  # the name that the base class looks for

        def log_message(self, format: str, *values: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusal) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_address[1]}", asked
        listening.shutdown()


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="needs the extra 'mlflow'")
def test_no_server_is_asked(
    train: list[str], server: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, asked = server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert main([*train, "--track", "mlflow"]) == 0
    assert asked, "the command names it: the negative control"
    asked.clear()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache of another machine"))
    assert main(["train", "--resume", str(tmp_path / "runs" / "exp"), "--epochs", "2"]) == 0
    assert asked == []
    assert summary(tmp_path / "runs" / "exp")["left_off"] == ["track"]
