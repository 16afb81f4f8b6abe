"""What a run ran on: read from files, in every form git keeps a checkout in."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from vedette.train.folder.machine import (
    cpu_model,
    describe_machine,
    git_commit,
    library_versions,
    nvidia_driver,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def _checkout(folder: Path, head: str, **files: str) -> Path:
    place = folder / ".git"
    place.mkdir(parents=True)
    (place / "HEAD").write_text(head + "\n")
    for name, text in files.items():
        path = place / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_the_machine_is_described_without_starting_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError(f"a program was started: {arguments}")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    machine = describe_machine()
    assert machine["host"]
    assert machine["cpus"] >= 1
    assert cpu_model()
    assert library_versions()["python"].startswith("3.")


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024",
            "550.54.15",
        ),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.10  Release\nGCC version: gcc 13.2.0",
            "570.86.10",
        ),
        ("", None),
        ("something else 12.5", None),
    ],
)
def test_the_driver_is_found_in_what_linux_says(text: str, version: str | None) -> None:
    assert nvidia_driver(text) == version


def test_a_branch(tmp_path: Path) -> None:
    folder = _checkout(tmp_path, "ref: refs/heads/some/branch", refs__heads__some__branch=COMMIT + "\n")
    expected = {"folder": str(folder), "branch": "some/branch", "commit": COMMIT}
    (folder / "a" / "b").mkdir(parents=True)
    assert git_commit(folder) == expected
    assert git_commit(folder / "a" / "b") == expected


def test_a_packed_branch_and_a_detached_head(tmp_path: Path) -> None:
    packed = f"# pack-refs with: peeled\n{'f' * 40} refs/heads/maintenance\n{COMMIT} refs/heads/main\n"
    files = {"packed-refs": packed}
    assert git_commit(_checkout(tmp_path / "packed", "ref: refs/heads/main", **files))["commit"] == COMMIT
    detached = git_commit(_checkout(tmp_path / "detached", COMMIT))
    assert (detached["branch"], detached["commit"]) == ("", COMMIT)


@pytest.mark.parametrize(
    "head", ["", "ref: refs/heads/unborn", "ref: ../../etc/passwd", "ref: refs/../../x", "rubbish"]
)
def test_a_head_that_names_no_commit_gives_nothing(tmp_path: Path, head: str) -> None:
    assert git_commit(_checkout(tmp_path, head)) is None


def test_no_checkout(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("not a link")
    assert git_commit(tmp_path) is None


@pytest.mark.skipif(shutil.which("git") is None, reason="compares with git itself, which is not installed")
def test_git_says_the_same(tmp_path: Path) -> None:
    def git(*arguments: str, folder: Path) -> str:
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    main, second = tmp_path / "main", tmp_path / "second"
    main.mkdir()
    git("init", "--quiet", folder=main)
    git("commit", "--quiet", "--allow-empty", "-m", "one", folder=main)
    git("worktree", "add", "--quiet", "-b", "other", str(second), folder=main)
    git("commit", "--quiet", "--allow-empty", "-m", "two", folder=second)
    for folder in (main, second):
        found = git_commit(folder)
        assert found is not None
        assert found["commit"] == git("rev-parse", "HEAD", folder=folder)
        assert found["branch"] == git("rev-parse", "--abbrev-ref", "HEAD", folder=folder)
    git("pack-refs", "--all", folder=main)
    assert git_commit(second)["commit"] == git("rev-parse", "HEAD", folder=second)
