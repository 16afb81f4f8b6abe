"""Files of tracks: ours (see :mod:`vedette.infer.tracking.track_writer`), results and annotations of MOTChallenge."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from vedette.errors import DataError
from vedette.evaluate.tracking import TrackBoxes

MAX_BYTES = 256_000_000
_LEAST_COLUMNS, _MOST_COLUMNS = 6, 10
_LARGEST = 1e9


def read_tracks(path: Path, class_id: int | None = None) -> TrackBoxes:
    """Read the tracks of one sequence.

    Rows with a score of 0 are left out: annotations mark so what is not to be considered. Columns behind the box may
    be absent.

    Args:
        path: lines ``frame,id,x,y,w,h[,score[,class[,visibility]]]``, or ten columns without a class.
        class_id: rows of this class only; None: all, also of files without classes.

    Raises:
        DataError: the file cannot be read, a row is none, or an id is twice in a frame; with path and line.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"is longer than {MAX_BYTES} bytes", where=path, fix="split it by sequence")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise DataError(f"the tracks cannot be read ({reason})", where=path) from None
    rows = [_row(line, f"{path}:{number}") for number, line in enumerate(lines, start=1) if line.strip()]
    values = np.array(rows, dtype=np.float64).reshape(-1, 8)
    values = values[values[:, 6] != 0]
    if class_id is not None:
        values = values[values[:, 7] == class_id]
    boxes = values[:, 2:6].copy()
    boxes[:, 2:] += boxes[:, :2]
    try:
        return TrackBoxes(values[:, 0].astype(np.int64), values[:, 1].astype(np.int64), boxes)
    except DataError as error:
        raise DataError(error.what, where=path, fix=error.fix) from None


def _row(line: str, where: str) -> list[float]:
    """Frame, id, x, y, w, h, score, class. Raises DataError."""
    parts = line.replace(",", " ").split()
    fix = "write frame,id,x,y,w,h,score,class,visibility"
    if not _LEAST_COLUMNS <= len(parts) <= _MOST_COLUMNS:
        raise DataError(
            f"has {len(parts)} columns, expected {_LEAST_COLUMNS} to {_MOST_COLUMNS}", where=where, fix=fix
        )
    try:
        values = [float(part) for part in parts]
    except ValueError as error:
        raise DataError(f"{error}"[:120], where=where, fix=fix) from None
    score = values[6] if len(values) > 6 else 1.0
    class_id = values[7] if 7 < len(values) < _MOST_COLUMNS else -1.0  # ten columns end with a place in space
    values = [*values[:6], score, class_id]
    if not all(math.isfinite(value) and abs(value) <= _LARGEST for value in values):
        raise DataError("holds what is no number, or too large a one", where=where, fix=fix)
    if not all(value.is_integer() for value in (values[0], values[1], class_id)):
        raise DataError("frame, id and class must be whole numbers", where=where, fix=fix)
    if values[4] < 0 or values[5] < 0:
        raise DataError("the box has a negative width or height", where=where, fix=fix)
    return values
