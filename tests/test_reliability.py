"""The page of promises names real tests."""

from __future__ import annotations

import ast
import re

from tests.conftest import REPOSITORY


def test_every_promise_has_its_test() -> None:
    text = (REPOSITORY / "docs" / "reliability.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) >= 25
    for file, name in named:
        tree = ast.parse((REPOSITORY / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, (
            f"{file}::{name}"
        )
    rows = [line for line in text.partition("## How often")[0].splitlines() if line.startswith("| ")]
    assert all("::" in row for row in rows[1:]), "every fault has a test"
