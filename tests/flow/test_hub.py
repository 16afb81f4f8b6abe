"""An old script, unchanged, in another folder, without network, installed package or home."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.checkpoint.legacy.bytewise import write_release
from tests.conftest import REPOSITORY
from tests.model.lively import lively_detector
from vedette.checkpoint.deployable import load_detector, save_detector
from vedette.core.letterbox import LetterboxPolicy

SCRIPT = REPOSITORY / "tests" / "flow" / "old_script.py"
NAMES = ("person", "car", "dog")

NO_SOCKETS = """
import socket

def _refuse(*_arguments, **_options):
    raise RuntimeError("the network is cut")

socket.socket.__init__ = socket.getaddrinfo = _refuse
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a picture, weights of ours and a checkpoint of v4.0; and what cuts the network."""
    folder = tmp_path_factory.mktemp("elsewhere")
    picture = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    Pillow.fromarray(picture).save(folder / "street.jpg")
    save_detector(
        folder / "best.safetensors",
        lively_detector(),
        class_names=NAMES,
        letterbox=LetterboxPolicy(),
        metadata={},
    )
    write_release(folder / "best.pt", lively_detector(), names=list(NAMES))
    (folder / "cut").mkdir()
    (folder / "cut" / "sitecustomize.py").write_text(NO_SOCKETS, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository at another place, and not quite the same: files it imports are said to be of 320 pixels."""
    folder = tmp_path_factory.mktemp("copied") / "repository"
    ignored = shutil.ignore_patterns("__pycache__", "*.safetensors")
    shutil.copytree(REPOSITORY / "src", folder / "src", ignore=ignored)
    shutil.copy(REPOSITORY / "hubconf.py", folder)
    child = folder / "src" / "vedette" / "checkpoint" / "legacy" / "child.py"
    text = child.read_text(encoding="utf-8")
    changed = text.replace("DEFAULT_IMAGE_SIZE = 640", "DEFAULT_IMAGE_SIZE = 320")
    assert changed != text
    child.write_text(changed, encoding="utf-8")
    return folder


def _python(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_own_network(), sys.executable, "-W", "error::UserWarning", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, **environment},
        check=False,
    )


@functools.cache
def _own_network() -> tuple[str, ...]:
    """What puts a process where there is no network at all, if this system can."""
    prefix = ("unshare", "--map-root-user", "--net")
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return ()
    return (
        prefix if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0 else ()
    )


def _without_network(work: Path) -> dict[str, str]:
    """No socket can be made, not even to this machine."""
    return {"PYTHONPATH": str(work / "cut")}


def _check_output(stdout: str, repository: Path) -> None:
    lines = stdout.splitlines()
    assert lines[0].startswith("tiny (v4.0): 25 layers")
    assert lines[1].startswith("image 1/6: 96x128 ")
    assert lines[7].startswith("Speed: ")
    # The folder that was given, not a package that happens to be installed.
    assert Path(lines[-1]).is_relative_to(repository / "src")


def test_an_old_script_runs_unchanged(work: Path, copied: Path) -> None:
    """In the folder of the pictures, with a repository that lies elsewhere, and a checkpoint of v4.0."""
    pytest.importorskip("pandas", reason="the extra 'pandas' is not installed")
    cut = _without_network(work)
    cache = work / "cache"
    done = _python(work, str(SCRIPT), str(copied), "best.pt", VEDETTE_CACHE_DIR=str(cache), **cut)
    assert done.returncode == 0, done.stderr
    _check_output(done.stdout, copied)
    assert len(list((work / "runs/detect/exp").glob("*.jpg"))) == 6
    assert list((work / "runs/detect/exp2/crops").rglob("*.jpg"))
    (converted,) = (cache / "imported").iterdir()
    # The process that reads the checkpoint, too, is of the folder that was given.
    assert load_detector(converted).letterbox.size_hw == (320, 320)


def test_the_repository_may_be_the_working_directory(work: Path, copied: Path) -> None:
    """``torch.hub.load('.', 'custom', path=..., source='local')``."""
    pytest.importorskip("pandas", reason="the extra 'pandas' is not installed")
    shutil.copy(work / "street.jpg", copied)
    weights = str(work / "best.safetensors")
    done = _python(copied, str(SCRIPT), ".", weights, **_without_network(work))
    assert done.returncode == 0, done.stderr
    _check_output(done.stdout, copied)


def test_the_network_is_cut_in_these_tests(work: Path) -> None:
    """The negative control."""
    code = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')"
    done = _python(work, "-c", code, **_without_network(work))
    assert "the network is cut" in done.stderr


def test_published_names_say_that_there_are_no_weights(work: Path) -> None:
    code = (
        "import sys, torch\n"
        "model = torch.hub.load(sys.argv[1], 'yolov5n', source='local', pretrained=False, classes=2, "
        "autoshape=False, _verbose=False, device='cpu')\n"
        "print(model.nc, model.yaml['release'])\n"
        "torch.hub.load(sys.argv[1], 'yolov5s', source='local')\n"
    )
    done = _python(work, "-c", code, str(REPOSITORY), **_without_network(work))
    assert done.stdout == "2 v7.0\n", done.stderr
    assert done.returncode == 1
    assert "vedette ships none of these weights and downloads nothing" in done.stderr
    assert "pretrained='path/to/file'" in done.stderr


def test_every_entry_point_is_there() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import hubconf\n"
        "names = [n for n in dir(hubconf) if callable(getattr(hubconf, n)) and not n.startswith('_')]\n"
        "print(*sorted(set(names) - {'Path'}))\n"
    )
    done = _python(REPOSITORY.parent, "-c", code, str(REPOSITORY))
    expected = ["custom", *(f"yolov5{size}" for size in "lmnsx"), *(f"yolov5{size}6" for size in "lmnsx")]
    assert done.stdout.split() == sorted(expected), done.stderr
