"""How well objects were followed: HOTA, IDF1 and MOTA, from the boxes and ids of a sequence.

HOTA after Luiten et al. ("HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking", 2021), IDF1 after
Ristani et al. ("Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking", 2016), MOTA and MOTP
after Bernardin and Stiefelhagen ("Evaluating Multiple Object Tracking Performance: The CLEAR MOT Metrics", 2008), with
IoU as the measure of likeness in all of them. Classes are not looked at: measure one class at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vedette.core.assignment import best_pairs
from vedette.core.nms import pairwise_iou
from vedette.core.types import IntArray
from vedette.errors import DataError
from vedette.evaluate.packed import Float64Array

HOTA_THRESHOLDS = np.arange(1, 20) / 20
"""IoU that a pair needs: 0.05, 0.10 ... 0.95; HOTA is the mean over them."""
MATCH_IOU = 0.5
"""IoU that a pair needs for IDF1 and MOTA."""

_CONTINUED = 1000.0
"""What going on with the pair of the frame before counts more than any overlap."""
_ROUNDING = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class TrackBoxes:
    """Boxes of one sequence with ids, in any order; N rows.

    Attributes:
        frames: int64 [N], number of the frame.
        ids: int64 [N], which object it is; each at most once a frame.
        boxes_xyxy_px: float64 [N, 4], finite.

    Raises:
        DataError: the arrays do not fit together, a box is not a number, or an id is twice in a frame.
    """

    frames: IntArray
    ids: IntArray
    boxes_xyxy_px: Float64Array

    def __post_init__(self) -> None:
        if not len(self.frames) == len(self.ids) == len(self.boxes_xyxy_px):
            raise DataError(
                f"{len(self.frames)} frames, {len(self.ids)} ids and {len(self.boxes_xyxy_px)} boxes",
                where="tracks",
            )
        if self.boxes_xyxy_px.shape[1:] != (4,) or not np.isfinite(self.boxes_xyxy_px).all():
            raise DataError("boxes must be [N, 4] finite numbers", where="tracks")
        order = np.lexsort((self.ids, self.frames))
        frames, ids = self.frames[order], self.ids[order]
        again = np.flatnonzero((frames[1:] == frames[:-1]) & (ids[1:] == ids[:-1]))
        if len(again):
            raise DataError(
                f"id {ids[again[0]]} is in frame {frames[again[0]]} more than once",
                where="tracks",
                fix="give every object of a frame an id of its own",
            )

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True, slots=True)
class TrackingResult:
    """What came out. Shares are 0..1, higher is better; ``mota`` may be negative. None: undefined without boxes.

    Attributes:
        hota: mean over the thresholds of the geometric mean of ``deta`` and ``assa``.
        deta: detection accuracy: true positives among all boxes of either side.
        assa: association accuracy: mean over true positives of how far the two tracks that meet there agree.
        idf1: F1 of boxes with the right id, for the best one-to-one pairing of ids.
        idp: precision of the same.
        idr: recall of the same.
        mota: 1 - (missed + spurious + id_switches) / true boxes.
        motp: mean IoU of the pairs.
        missed: true boxes without a found one.
        spurious: found boxes without a true one.
        id_switches: how often a true object went on under another id.
        true_boxes: boxes that are there.
        found_boxes: boxes that were found.
    """

    hota: float | None
    deta: float | None
    assa: float | None
    idf1: float | None
    idp: float | None
    idr: float | None
    mota: float | None
    motp: float | None
    missed: int
    spurious: int
    id_switches: int
    true_boxes: int
    found_boxes: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


_Three = tuple[float | None, float | None, float | None]


@dataclass(frozen=True, slots=True)
class _Frame:
    """Numbers of the true objects [n] and of the found tracks [m] of a frame, and their IoU [n, m]."""

    objects: IntArray
    tracks: IntArray
    overlap: Float64Array


@dataclass(frozen=True, slots=True)
class _Sequence:
    """The frames that have boxes, and how many each object [T] and each track [F] has."""

    frames: list[_Frame]
    object_boxes: IntArray
    track_boxes: IntArray

    @property
    def true_boxes(self) -> int:
        return int(self.object_boxes.sum())

    @property
    def found_boxes(self) -> int:
        return int(self.track_boxes.sum())


def measure_tracks(truth: TrackBoxes, found: TrackBoxes) -> TrackingResult:
    """Compare the tracks found in a sequence with the true ones."""
    sequence = _aligned(truth, found)
    hota, deta, assa = _hota(sequence)
    idf1, idp, idr = _identity(sequence)
    return TrackingResult(
        hota=hota,
        deta=deta,
        assa=assa,
        idf1=idf1,
        idp=idp,
        idr=idr,
        **_clear(sequence),
        true_boxes=sequence.true_boxes,
        found_boxes=sequence.found_boxes,
    )


def _aligned(truth: TrackBoxes, found: TrackBoxes) -> _Sequence:
    sides = []
    frame_numbers = np.unique(np.concatenate((truth.frames, found.frames)))
    for boxes in (truth, found):
        names, numbers = np.unique(boxes.ids, return_inverse=True)
        order = np.argsort(boxes.frames, kind="stable")
        starts = np.searchsorted(boxes.frames[order], frame_numbers, side="left")
        ends = np.searchsorted(boxes.frames[order], frame_numbers, side="right")
        rows = [order[start:end] for start, end in zip(starts, ends, strict=True)]
        sides.append((numbers.reshape(-1), len(names), rows))
    (objects, object_count, true_rows), (tracks, track_count, found_rows) = sides
    frames = [
        _Frame(objects[wanted], tracks[got], _iou(truth.boxes_xyxy_px[wanted], found.boxes_xyxy_px[got]))
        for wanted, got in zip(true_rows, found_rows, strict=True)
    ]
    return _Sequence(
        frames, np.bincount(objects, minlength=object_count), np.bincount(tracks, minlength=track_count)
    )


def _iou(first: Float64Array, second: Float64Array) -> Float64Array:
    return pairwise_iou(first.astype(np.float64), second.astype(np.float64))


def _hota(sequence: _Sequence) -> _Three:
    """HOTA, DetA and AssA: section 5 of the paper; one matching a frame serves all thresholds (appendix)."""
    alike = _alikeness(sequence)
    pairs = np.zeros(
        (len(HOTA_THRESHOLDS), *alike.shape)
    )  # how often an object and a track are a true positive
    for frame in sequence.frames:
        rows, columns = best_pairs(alike[np.ix_(frame.objects, frame.tracks)] * frame.overlap)
        reached = frame.overlap[rows, columns] >= HOTA_THRESHOLDS[:, None] - _ROUNDING
        pairs[:, frame.objects[rows], frame.tracks[columns]] += reached
    if not sequence.true_boxes + sequence.found_boxes:
        return None, None, None
    hits = pairs.sum(axis=(1, 2))
    deta = hits / (sequence.true_boxes + sequence.found_boxes - hits)
    either = sequence.object_boxes[:, None] + sequence.track_boxes - pairs
    assa = (pairs * (pairs / np.maximum(either, 1))).sum(axis=(1, 2)) / np.maximum(hits, 1)
    return float(np.sqrt(deta * assa).mean()), float(deta.mean()), float(assa.mean())


def _alikeness(sequence: _Sequence) -> Float64Array:
    """How well each object and each track go together over the whole sequence, [T, F]: their soft Jaccard index."""
    together = np.zeros((len(sequence.object_boxes), len(sequence.track_boxes)))
    for frame in sequence.frames:
        overlap = frame.overlap
        others = overlap.sum(axis=0) + overlap.sum(axis=1, keepdims=True) - overlap
        together[np.ix_(frame.objects, frame.tracks)] += np.divide(
            overlap, others, out=np.zeros_like(overlap), where=others > 0
        )
    either = sequence.object_boxes[:, None] + sequence.track_boxes - together
    alike: Float64Array = together / np.maximum(either, _ROUNDING)
    return alike


def _identity(sequence: _Sequence) -> _Three:
    """IDF1 with its precision and recall: the pairing of objects and tracks with the most boxes in common."""
    common = np.zeros((len(sequence.object_boxes), len(sequence.track_boxes)))
    for frame in sequence.frames:
        common[np.ix_(frame.objects, frame.tracks)] += frame.overlap >= MATCH_IOU - _ROUNDING
    rows, columns = best_pairs(common)
    hits = float(common[rows, columns].sum())
    return (
        _share(2 * hits, sequence.true_boxes + sequence.found_boxes),
        _share(hits, sequence.found_boxes),
        _share(hits, sequence.true_boxes),
    )


def _clear(sequence: _Sequence) -> dict[str, Any]:
    """MOTA and what it counts: pairs of the frame before go on while they overlap enough."""
    last = np.full(len(sequence.object_boxes), -1, dtype=np.int64)  # the track that each object had last
    before = last.copy()  # the same, in the frame before only
    hits, switches, overlap_sum = 0, 0, 0.0
    for frame in sequence.frames:
        if not frame.overlap.size:
            continue
        gain = frame.overlap + _CONTINUED * (frame.tracks == before[frame.objects][:, None])
        gain[frame.overlap < MATCH_IOU - _ROUNDING] = 0
        rows, columns = best_pairs(gain)
        objects, tracks = frame.objects[rows], frame.tracks[columns]
        switches += int(((last[objects] >= 0) & (last[objects] != tracks)).sum())
        before[:] = -1
        last[objects] = before[objects] = tracks
        hits += len(rows)
        overlap_sum += float(frame.overlap[rows, columns].sum())
    missed, spurious = sequence.true_boxes - hits, sequence.found_boxes - hits
    wrong = _share(missed + spurious + switches, sequence.true_boxes)
    return {
        "mota": None if wrong is None else 1 - wrong,
        "motp": _share(overlap_sum, hits),
        "missed": missed,
        "spurious": spurious,
        "id_switches": switches,
    }


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None
