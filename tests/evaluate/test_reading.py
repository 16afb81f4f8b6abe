from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from tests.evaluate.bright_boxes import save_picture
from vedette.core.picture_format import PictureFormat
from vedette.core.types import Image, SizeHW
from vedette.errors import ModelError
from vedette.evaluate.protocol import PlannedBatch, frame_yolov5
from vedette.evaluate.reading import read_ahead


class _Folder:
    """The two things that reading asks an index for."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self.sizes_hw = np.full((count, 2), (20, 30), np.int32)
        for number in range(count):
            save_picture(self.image_path(number), (20, 30), [(0, 0, 0, number + 1, 5)])

    def image_path(self, number: int) -> Path:
        return self._folder / f"{number}.png"


def _batches(*positions: list[int]) -> list[PlannedBatch]:
    return [PlannedBatch(np.array(part), (32, 32)) for part in positions]


def _count_red(
    image: Image, frame_hw: SizeHW, path: str, milliseconds: float
) -> tuple[int, SizeHW, str, bool]:
    return int((image[0, :, 0] == 255).sum()), frame_hw, Path(path).name, milliseconds > 0


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_come_in_order_with_failures_apart(tmp_path: Path, threads: int) -> None:
    folder = _Folder(tmp_path, 5)
    folder.image_path(3).write_bytes(b"")
    batches = _batches([4, 0], [3], [2, 1])
    read = list(read_ahead(folder, batches, _count_red, threads))  # type: ignore[arg-type]
    assert [batch.positions for batch in read] == [[4, 0], [], [2, 1]]
    assert read[0].pictures == [(5, (32, 32), "4.png", True), (1, (32, 32), "0.png", True)]
    assert [(Path(one.path).name, one.kind) for one in read[1].failed] == [("3.png", "empty")]


def test_no_batches(tmp_path: Path) -> None:
    assert list(read_ahead(_Folder(tmp_path, 0), [], _count_red)) == []  # type: ignore[arg-type]


def test_one_batch_is_read_ahead_and_no_more(tmp_path: Path) -> None:
    prepared: list[str] = []

    def note(_image: Image, _frame_hw: SizeHW, path: str, _milliseconds: float) -> str:
        prepared.append(path)
        return path

    batches = read_ahead(_Folder(tmp_path, 6), _batches([0], [1], [2], [3]), note)  # type: ignore[arg-type]
    next(batches)
    batches.close()
    assert len(prepared) <= 2


def test_threads_end_with_the_reader(tmp_path: Path) -> None:
    def broken(*_arguments: object) -> None:
        raise ModelError("no frame")

    with pytest.raises(ModelError, match="no frame"):
        list(read_ahead(_Folder(tmp_path, 2), _batches([0], [1]), broken))  # type: ignore[arg-type]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("vedette-read")]


def test_pictures_are_read_as_the_model_takes_them(tmp_path: Path) -> None:
    """8-bit colour files for a detector of 16-bit grey; its protocol's frame takes them too."""
    deep = PictureFormat(1, 16)

    def frame(image: Image, frame_hw: SizeHW, *_: object) -> Image:
        return frame_yolov5((20, 30), 16, frame_hw, picture_format=deep).apply(image)

    folder = _Folder(tmp_path, 1)
    (batch,) = read_ahead(folder, _batches([0]), frame, picture_format=deep)  # type: ignore[arg-type]
    assert (batch.pictures[0].dtype, batch.pictures[0].shape) == (np.uint16, (32, 32, 1))
    assert batch.pictures[0][0, 0, 0] == deep.grey(114)
