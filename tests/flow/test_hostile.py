"""No command runs, fetches or trips over anything of a file it was given as a model."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from tests.checkpoint.hostile import Hostile, hostile_files
from tests.conftest import REPOSITORY
from tests.flow.conftest import command, vedette
from vedette.cli.app import COMMANDS as ALL_COMMANDS

HUB = "import sys, torch; torch.hub.load(sys.argv[1], 'custom', path='model.pt', source='local')"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What came of giving every file to every command."""
    folder = tmp_path_factory.mktemp("hostile")
    done = subprocess.run(
        [sys.executable, "-m", "tests.flow.hostile_program", str(folder)],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def hostile(name: str) -> Hostile:
    return next(file for file in hostile_files() if file.name == name)


def one_picture(folder: Path) -> None:
    Pillow.new("RGB", (64, 64)).save(folder / "one.png")


def test_every_command_that_takes_a_model_is_tried() -> None:
    """Whoever adds a command says here whether it takes a model, and if so with which arguments."""
    from tests.flow.hostile_program import COMMANDS, WITHOUT_MODEL

    tried = {name.partition(" --")[0] for name in COMMANDS}
    assert tried | set(WITHOUT_MODEL) == set(ALL_COMMANDS)
    assert not tried & set(WITHOUT_MODEL)


def test_everything_is_refused_by_name_and_nothing_happens(given: Any, record_property: Any) -> None:
    assert given["wrong"] == []
    assert given["events"] == []
    assert not given["canary"]
    assert given["files"] >= 120
    assert given["cached"] == 1, "of all files only the one that is fine was converted"
    record_property("hostile files refused by every command, none run", given["files"])
    record_property("commands and calls", given["commands"])


def test_a_file_that_is_fine_is_taken_by_the_same_commands(given: Any) -> None:
    assert set(given["accepted"].values()) == {0}


@pytest.mark.skipif(sys.platform == "win32", reason="the injected call is of a POSIX shell")
def test_loading_the_usual_way_runs_the_payload_and_is_seen(given: Any) -> None:
    """The negative control of the payload, and of the watch."""
    assert given["control"] == {"ran": True, "seen": True}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("stream-attack", ("import", "model.pt")),
        pytest.param("os-system", ("detect", ".", "--weights", "model.pt"), marks=pytest.mark.long),
        pytest.param("zip-bomb", ("info", "model.pt"), marks=pytest.mark.long),
    ],
)
def test_in_processes_of_their_own(tmp_path: Path, name: str, arguments: tuple[str, ...]) -> None:
    """As a user meets it, with the process that reads strangers' files in its place."""
    hostile(name).write(tmp_path / "model.pt")
    one_picture(tmp_path)
    done = vedette(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert hostile(name).says in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pt", "one.png"]


def test_through_torch_hub(tmp_path: Path) -> None:
    hostile("build").write(tmp_path / "model.pt")
    done = subprocess.run(
        [sys.executable, "-c", HUB, str(REPOSITORY)],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert "CheckpointError: model.pt: model: asks to call posix.system" in done.stderr
    assert not (tmp_path / "canary").exists()


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize(
    "name",
    ["os-system", *(pytest.param(name, marks=pytest.mark.long) for name in ("popen", "socket", "urlopen"))],
)
def test_the_system_sees_no_program_and_no_connection(tmp_path: Path, name: str) -> None:
    """From outside of Python: besides the two of vedette no program is started, and no address is connected to."""
    hostile(name).write(tmp_path / "model.pt")
    one_picture(tmp_path)
    log = tmp_path / "calls"
    tracer = ["strace", "-f", "-qq", "-e", "trace=execve,connect", "-o", str(log)]
    line = command("detect", ".", "--weights", "model.pt")
    done = subprocess.run(
        [*tracer, *line], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    if not log.exists() or not log.stat().st_size:
        pytest.skip(f"strace cannot trace here: {done.stderr[:200]}")
    assert done.returncode == 2, done.stderr
    calls = log.read_text(encoding="utf-8", errors="replace")
    started = re.findall(r'execve\("([^"]+)".* = 0$', calls, re.MULTILINE)
    assert [os.path.realpath(path) for path in started] == [os.path.realpath(sys.executable)] * 2
    assert not re.search(r"connect\(.*AF_INET", calls)
