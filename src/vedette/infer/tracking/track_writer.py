"""Tracks as text: a file for each sequence, in the columns of MOTChallenge.

A line a box: ``frame,id,x,y,w,h,score,class,visibility``. Frames and ids count from 1; ``x``, ``y`` is the upper left
corner in pixels from the edge of the picture, as in all other outputs; ``class`` is the class id, from 0;
``visibility`` is not known and always -1. Only boxes with a track are there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from vedette.core.types import Detections
from vedette.infer.stream import PictureResult
from vedette.infer.tracking.following import Sequence
from vedette.infer.writers import OutputNames, Write, writing


@contextlib.contextmanager
def track_writer(folder: Path) -> Iterator[Write]:
    """Writes ``folder/NAME.txt`` for each video, stream or folder of pictures that is followed. Raises WriteError.

    Lines are there as soon as they are written. Pictures of a folder are numbered in the order read, the unreadable
    ones too.
    """
    names = OutputNames()
    files: dict[str, Path] = {}
    pictures: dict[str, int] = {}
    with writing(folder):
        folder.mkdir(exist_ok=True)

    def write(result: PictureResult) -> None:
        if result.event is not None:
            if result.event.kind == "ended":  # the same video again is another sequence
                files.pop(result.item.path, None)
            return
        sequence = Sequence.of(result.item)
        if sequence.key not in files:
            files[sequence.key] = folder / names.take(sequence.name.stem, ".txt")
            with writing(files[sequence.key]):
                files[sequence.key].write_bytes(b"")
        number = result.item.frame_index
        if number is None:
            number = pictures.get(sequence.key, 0)
            pictures[sequence.key] = number + 1
        if result.detections is not None:
            lines = track_lines(result.detections, number + 1)
            with writing(files[sequence.key]), files[sequence.key].open("ab") as file:
                file.write("".join(f"{line}\n" for line in lines).encode("ascii"))

    yield write


def track_lines(detections: Detections, frame: int) -> list[str]:
    """The lines of one frame, number ``frame``; of boxes with a track, in their order."""
    lines = []
    for record in detections.records():
        if record.get("track_id") is None:
            continue
        x1, y1, x2, y2 = record["box_xyxy"]
        box = ",".join(f"{value:.2f}" for value in (x1, y1, x2 - x1, y2 - y1))
        lines.append(f"{frame},{record['track_id']},{box},{record['score']:.4f},{record['class_id']},-1")
    return lines
