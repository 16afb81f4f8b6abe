"""The rules of the tree that a linter does not know: no drawers, small files, tests that mirror the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

SOURCE = REPOSITORY / "src" / "vedette"
MODULES = sorted(SOURCE.rglob("*.py"))
DRAWERS = {"utils", "util", "common", "misc", "helpers", "helper", "general", "tools"}


def test_no_drawers() -> None:
    names = {part for path in MODULES for part in path.relative_to(SOURCE).with_suffix("").parts}
    assert not names & DRAWERS


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_files_are_small_and_explain_themselves(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(ast.parse(text)), "a module says what it is for"
    assert not re.search(r"(?<![.\w])(eval|exec)\(", text)


def test_every_test_file_has_its_module() -> None:
    """`tests/<folder>/test_<file>.py` tests `src/vedette/<folder>/<file>.py`."""
    tests = REPOSITORY / "tests"
    strangers = []
    for path in tests.rglob("test_*.py"):
        folder = path.parent.relative_to(tests)
        if folder.parts[:1] in ((), ("flow",)):
            continue
        subject = SOURCE / folder / f"{path.stem.removeprefix('test_')}.py"
        if not subject.exists():
            strangers.append(path.relative_to(tests).as_posix())
    assert not strangers


def test_readme_tour_points_at_real_functions() -> None:
    """The tour is a table of `file` and `name`; each name is defined in its file."""
    rows = re.findall(
        r"^\| \d+ \|.*?`([\w/]+\.py)`.*?`(\w+)`", (REPOSITORY / "README.md").read_text("utf-8"), re.M
    )
    assert len(rows) >= 8
    for file, name in rows:
        tree = ast.parse((SOURCE / file).read_text(encoding="utf-8"))
        defined = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        assert name in defined, f"{file} has no {name}"
