from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.data.small_sets import write_text
from vedette.data.formats.records import RowCollector, SplitFiles, read_label_file
from vedette.data.sources import PictureList


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("gone.txt", "no-label-file"),
        ("a.txt/b.txt", "no-label-file"),
        ("folder", "label-is-folder"),
        ("x" * 3000, "label-unreadable"),
        ("nul\0.txt", "label-unreadable"),
        ("long.txt", "label-too-large"),
        ("a.txt", ""),
    ],
)
def test_label_files(tmp_path: Path, name: str, kind: str) -> None:
    write_text(tmp_path / "a.txt", "0 1")
    write_text(tmp_path / "long.txt", "0 12")
    (tmp_path / "folder").mkdir()
    label = read_label_file(os.path.join(tmp_path, name), limit=3)  # noqa: PTH118
    assert label.kind == kind
    assert (label.data == b"0 1") == (kind == "")


def test_no_rows() -> None:
    rows = RowCollector().pack()
    assert len(rows) == 0
    assert rows.boxes.shape == (0, 4)
    assert rows.ignored.dtype == np.bool_


def test_digest_depends_on_content_and_paths(tmp_path: Path) -> None:
    def digest(text: str, picture: str = "a.png") -> str:
        pictures = PictureList()
        pictures.add(str(tmp_path / picture))
        return SplitFiles(pictures, [read_label_file(str(write_text(tmp_path / "a.txt", text)))]).digest(
            str(tmp_path)
        )

    assert digest("0 1") == digest("0 1")
    assert len({digest("0 1"), digest("1 1"), digest("0 1", "b.png")}) == 3
