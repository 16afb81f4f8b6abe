"""What an evaluation found out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vedette.core.picture_format import RGB8, PictureFormat
from vedette.errors import WriteError
from vedette.evaluate.coco import image_ids_yolov5, write_predictions_json
from vedette.evaluate.confusion import ConfusionMatrix
from vedette.evaluate.metrics import Curves, OperatingPoint, ReferenceSummary
from vedette.evaluate.packed import Predictions, Truth
from vedette.evaluate.reading import FailedImage


@dataclass(frozen=True, slots=True)
class ClassResult:
    """Figures of one class; None where undefined, as without true boxes.

    Precision, recall and F1 are those at the score ``confidence``, where F1 is highest (IoU 0.5).
    """

    class_id: int
    name: str
    images: int
    instances: int
    ap: float | None
    ap50: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    confidence: float | None


@dataclass(frozen=True, slots=True)
class WithoutTiles:
    """What a detector that was measured in tiles finds without: the twelve numbers, and milliseconds a picture."""

    numbers: Mapping[str, float | None]
    timing: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures of one model on one split, and what they were made from.

    Attributes:
        numbers: the twelve COCO numbers by name, 0..1; None: undefined.
        per_class: one record a class.
        operating_point: the one score for all classes with the best mean F1.
        curves: precision, recall, F1 over the score; precision over recall.
        confusion: confusion matrix at a working score.
        reference: the reference's own figures (protocol ``yolov5`` only).
        fp_per_background_image: boxes above the working score per picture without any true box; None: no
            such picture.
        background_images: number of such pictures.
        timing: milliseconds per picture: ``decode``, ``preprocess``, ``inference``, ``postprocess``, and
            ``wall``: the whole evaluation's clock time, in which reading and inference overlap.
        protocol: by which rules, JSON-ready.
        failed: pictures left out of everything.
        image_paths: the pictures that were evaluated, in the order of the packed arrays.
        category_ids: the category id of each class in COCO results.
        predictions: all predicted boxes, also those that nobody can judge because their class is not labelled in
            their picture: :func:`vedette.evaluate.packed.judged_predictions` leaves them out.
        truth: all true boxes.
        losses: box, obj and cls loss on the split, where whoever measured had a loss to compute; else empty.
        picture_format: as which the pictures were read.
        without_tiles: of an evaluation in tiles, what to compare it with.
    """

    numbers: Mapping[str, float | None]
    per_class: tuple[ClassResult, ...]
    operating_point: OperatingPoint
    curves: Curves
    confusion: ConfusionMatrix
    reference: ReferenceSummary | None
    fp_per_background_image: float | None
    background_images: int
    timing: Mapping[str, float]
    protocol: Mapping[str, Any]
    failed: tuple[FailedImage, ...]
    image_paths: tuple[str, ...]
    category_ids: tuple[int, ...]
    predictions: Predictions
    truth: Truth
    losses: Mapping[str, float] = field(default_factory=dict)
    picture_format: PictureFormat = RGB8
    without_tiles: WithoutTiles | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready: the twelve numbers by name on top, the rest beside them; without curves and boxes."""
        record: dict[str, Any] = dict(self.numbers)
        record |= {
            "images": len(self.image_paths),
            "instances": sum(result.instances for result in self.per_class),
            "operating_point": asdict(self.operating_point),
            "per_class": [asdict(result) for result in self.per_class],
            "partly_labelled_images": self._partly_labelled_images(),
            "background_images": self.background_images,
            "fp_per_background_image": self.fp_per_background_image,
            "confusion": self.confusion.to_dict(),
            "protocol": dict(self.protocol),
            "timing": dict(self.timing),
            "failed": [asdict(failure) for failure in self.failed],
        }
        if self.reference is not None:
            record["yolov5"] = self.reference.to_dict()
        if self.without_tiles is not None:
            record["without_tiles"] = {
                **self.without_tiles.numbers,
                "timing": dict(self.without_tiles.timing),
            }
        return record

    def _partly_labelled_images(self) -> int:
        """Pictures in which not all classes are labelled."""
        labelled = self.truth.labelled
        return 0 if labelled is None else int((~labelled.all(axis=1)).sum())

    def write_json(self, path: Path) -> None:
        """Write ``to_json`` as a file. Raises WriteError."""
        text = json.dumps(self.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
        try:
            path.write_text(text + "\n", encoding="utf-8", newline="\n")
        except OSError as error:
            raise WriteError(f"cannot be written ({error.strerror})", where=path) from None

    def write_predictions_json(self, path: Path, category_ids: Sequence[int] | None = None) -> None:
        """Write the predictions as a COCO results file. Raises WriteError.

        Under the protocol ``yolov5`` picture ids come from the file names and figures are rounded, as the
        reference does; otherwise ids are those of the data and figures are written in full.

        Args:
            path: the file.
            category_ids: one a class; default: ``self.category_ids``.
        """
        as_reference = self.protocol["name"] == "yolov5"
        ids: list[int | str] = self.truth.image_ids.tolist()
        if as_reference:
            ids = image_ids_yolov5([Path(name).stem for name in self.image_paths])
        write_predictions_json(
            path, self.predictions, ids, category_ids or self.category_ids, rounded=as_reference
        )
