from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.evaluate.measured_pictures import measured
from vedette.errors import WriteError
from vedette.evaluate.label_files import write_label_files


def test_one_file_a_picture_with_boxes(tmp_path: Path) -> None:
    evaluation = measured(tmp_path, 4)
    count = write_label_files(evaluation, tmp_path / "labels", scores=True)
    files = sorted((tmp_path / "labels").iterdir())
    lines = [line.split() for file in files for line in file.read_text("ascii").splitlines()]
    assert (
        count
        == len(files)
        == int((evaluation.predictions.offsets[1:] > evaluation.predictions.offsets[:-1]).sum())
    )
    assert len(lines) == len(evaluation.predictions.scores) > 0
    for words, class_id, score in zip(
        lines, evaluation.predictions.class_ids, evaluation.predictions.scores, strict=True
    ):
        assert len(words) == 6
        assert (int(words[0]), float(words[5])) == (class_id, pytest.approx(score, rel=1e-5))
        assert all(0 <= float(word) <= 1 for word in words[1:])


def test_boxes_are_relative_to_their_picture(tmp_path: Path) -> None:
    evaluation = measured(tmp_path, 2)
    write_label_files(evaluation, tmp_path / "labels", scores=False)
    height, width = evaluation.truth.sizes_hw[0]
    x1, y1, x2, y2 = evaluation.predictions.boxes_xyxy_px[0]
    first = (
        (tmp_path / "labels" / f"{Path(evaluation.image_paths[0]).stem}.txt")
        .read_text("ascii")
        .splitlines()[0]
    )
    expected = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]
    assert [float(word) for word in first.split()[1:]] == pytest.approx(expected, rel=1e-5)


def test_pictures_of_one_name_have_a_file_each(tmp_path: Path) -> None:
    evaluation = measured(tmp_path, 4)
    same = replace(evaluation, image_paths=tuple(f"{number}/a.png" for number in range(4)))
    count = write_label_files(same, tmp_path / "labels", scores=False)
    assert len(list((tmp_path / "labels").iterdir())) == count > 1


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="cannot be written"):
        write_label_files(measured(tmp_path, 1), tmp_path / "none" / "labels", scores=False)
