"""Values that travel between the stages, and the legend of shapes, units and frames.

Legend, used in every docstring and shape comment:

====  ==========================================================
B     images in a batch
M     true boxes (of one image, or of a batch)
N     predicted boxes
A     anchors of one level
C     classes
H W   pixels, in this order: sizes are always (height, width)
h w   cells of a feature map
====  ==========================================================

Names carry format, frame and unit: ``boxes_xyxy_px`` (two corners, pixels), ``boxes_cxcywh_rel`` (centre and
size, 0..1 of the image), ``size_hw``. A *picture* is what a file holds, after its EXIF orientation was
applied; the *frame* is what the network sees (letterboxed). Pictures are RGB uint8 arrays [H, W, 3], unless a
:class:`vedette.core.picture_format.PictureFormat` says otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vedette.core.printable import printable
from vedette.errors import MissingExtraError

if TYPE_CHECKING:
    import torch

    from vedette.core.provenance import Provenance

Image = NDArray[np.uint8 | np.uint16]
"""Picture: RGB uint8 [H, W, 3], or uint8 or uint16 [H, W, channels] of another picture format."""

RgbImage = NDArray[np.uint8]
"""Picture of 8-bit RGB, uint8 [H, W, 3]: what people look at."""

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

SizeHW = tuple[int, int]
"""(height, width) in pixels."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture with its true boxes, on the way from disk to a batch.

    Attributes:
        image: RGB uint8 [H, W, 3], or of another picture format.
        boxes_xyxy_px: float32 [M, 4], pixels of ``image``; may reach over its edges.
        class_ids: int64 [M], 0-based.
        ignored: bool [M]; True for crowd, difficult and "don't care" boxes: neither target nor background.
        image_number: position of the picture in its split.
        labelled: bool [M, C]; which classes are labelled in the picture that each box comes from (a mosaic has
            several); None: all of them in every picture.
    """

    image: Image
    boxes_xyxy_px: FloatArray
    class_ids: IntArray
    ignored: BoolArray
    image_number: int
    labelled: BoolArray | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples of one size, stacked.

    Attributes:
        images: uint8 [B, 3, H, W], RGB; of another picture format uint8 or uint16 [B, channels, H, W].
        targets: float32 [M, 6]: (image in batch, class, cx, cy, w, h), the box in 0..1 of the frame.
        ignored: float32 [K, 6]: the same for boxes that are neither target nor background.
        image_numbers: int64 [B], position of each picture in its split; more than B where frames hold several.
        labelled: bool [M, C], one row a target: which classes are labelled in the picture it comes from; None: all.
    """

    images: torch.Tensor
    targets: torch.Tensor
    ignored: torch.Tensor
    image_numbers: torch.Tensor
    labelled: torch.Tensor | None = None

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory, from where a GPU fetches it on the side; torch's loader calls this."""
        return Batch(
            images=self.images.pin_memory(),
            targets=self.targets.pin_memory(),
            ignored=self.ignored.pin_memory(),
            image_numbers=self.image_numbers,
            labelled=None if self.labelled is None else self.labelled.pin_memory(),
        )


@dataclass(frozen=True, slots=True)
class Detections:
    """What was found in one picture, best score first.

    Attributes:
        boxes_xyxy_px: float32 [N, 4], pixels of the picture (not of the frame), inside it.
        scores: float32 [N], 0..1.
        class_ids: int64 [N].
        class_names: names of all classes of the model, by id.
        size_hw: size of the picture.
        path: where the picture came from, or "" for an array.
        milliseconds: time by stage: ``decode``, ``preprocess``, ``inference``, ``postprocess``
            (batch time divided by the number of pictures in the batch).
        provenance: where in the network each box comes from, if it was asked for.
        track_ids: int64 [N], which object of its source each box is, from 1, -1 for none; None: nothing was tracked.
        frame_index: of a picture out of a video or stream, its number there from 0.
        time_ms: of such a picture, when it is shown; in a stream, when it arrived since the reading began.
    """

    boxes_xyxy_px: FloatArray
    scores: FloatArray
    class_ids: IntArray
    class_names: tuple[str, ...]
    size_hw: SizeHW
    path: str = ""
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    provenance: Provenance | None = None
    track_ids: IntArray | None = None
    frame_index: int | None = None
    time_ms: float | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def chosen(self, rows: IntArray | BoolArray) -> Detections:
        """Some of the boxes, by number or by mask."""
        return replace(
            self,
            boxes_xyxy_px=self.boxes_xyxy_px[rows],
            scores=self.scores[rows],
            class_ids=self.class_ids[rows],
            provenance=None if self.provenance is None else self.provenance.chosen(rows),
            track_ids=None if self.track_ids is None else self.track_ids[rows],
        )

    def records(self) -> list[dict[str, Any]]:
        """One JSON-ready dict a box: ``box_xyxy``, ``score``, ``class_id``, ``class_name``.

        Where objects were tracked also ``track_id``; None for a box without one.
        """
        records: list[dict[str, Any]] = [
            {
                "box_xyxy": [float(value) for value in box],
                "score": float(score),
                "class_id": int(class_id),
                "class_name": self.class_names[int(class_id)],
            }
            for box, score, class_id in zip(self.boxes_xyxy_px, self.scores, self.class_ids, strict=True)
        ]
        for record, track_id in zip(records, () if self.track_ids is None else self.track_ids, strict=False):
            record["track_id"] = int(track_id) if track_id >= 0 else None
        return records

    def to_json(self) -> str:
        """One line of JSON: ``path``, ``size_hw`` and ``detections``, a list of :meth:`records`.

        A picture out of a video or stream has ``frame_index`` and ``time_ms`` too.
        """
        content: dict[str, Any] = {"path": self.path}
        if self.frame_index is not None:
            content |= {"frame_index": self.frame_index, "time_ms": self.time_ms}
        content |= {"size_hw": list(self.size_hw), "detections": self.records()}
        return printable(json.dumps(content, ensure_ascii=False, allow_nan=False))

    def to_coco(self, image_id: int | str, category_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """COCO results: boxes (x, y, width, height) with three decimals, scores with five.

        Boxes with a track id also have ``track_id``.

        Args:
            image_id: of the picture in the annotation file.
            category_ids: the file's category of each class; None: the class id itself.

        Formula: evaluation.md section 6.
        """
        results = []
        for record in self.records():
            x1, y1, x2, y2 = record["box_xyxy"]
            class_id = record["class_id"]
            result = {
                "image_id": image_id,
                "category_id": class_id if category_ids is None else int(category_ids[class_id]),
                "bbox": [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)],
                "score": round(record["score"], 5),
            }
            if record.get("track_id") is not None:
                result["track_id"] = record["track_id"]
            results.append(result)
        return results

    def to_supervision(self) -> Any:
        """The same boxes as ``supervision.Detections``, with class names under ``data["class_name"]``.

        Track ids become its ``tracker_id``, -1 for a box without one.

        Raises:
            MissingExtraError: the package supervision is not installed.
        """
        try:
            import supervision
        except ImportError:
            raise MissingExtraError(
                "supervision", "supervision", "handing detections to supervision"
            ) from None
        names = np.array([self.class_names[int(number)] for number in self.class_ids], dtype=str)
        return supervision.Detections(
            xyxy=self.boxes_xyxy_px,
            confidence=self.scores,
            class_id=self.class_ids,
            tracker_id=self.track_ids,
            data={"class_name": names},
        )
