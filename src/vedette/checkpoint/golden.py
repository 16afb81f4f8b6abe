"""Golden pictures: what an exported file must find in pictures that it carries, found by PyTorch before.

Pictures are PNG, so that every machine decodes them to the same bytes. Where they lie in their frames is stored too:
some changes of the preprocessing (a pad value, where nothing is padded) cannot be seen in boxes.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import asdict, dataclass, fields
from typing import Any

from vedette.checkpoint.feature_maps import MAX_MAPS, ExpectedMap
from vedette.checkpoint.strict_json import Fields
from vedette.checkpoint.suppression import nms_from_fields, nms_to_dict
from vedette.core.letterbox import MAX_SIDE, Letterbox
from vedette.core.nms import NmsSettings
from vedette.core.types import SizeHW
from vedette.errors import CheckpointError

MAX_PICTURES = 16
MAX_PNG_BYTES = 4 * 1024 * 1024
MAX_DETECTIONS = 1000
_MAX_PX = 1e6


@dataclass(frozen=True, slots=True)
class ExpectedPlacement:
    """Where a golden picture lies in its frame, as of :class:`vedette.core.letterbox.Letterbox`."""

    frame_hw: SizeHW
    resized_hw: SizeHW
    top: int
    left: int
    pad_value: int

    @classmethod
    def of(cls, letterbox: Letterbox) -> ExpectedPlacement:
        """What of a letterbox is stored."""
        return cls(
            letterbox.frame_hw, letterbox.resized_hw, letterbox.top, letterbox.left, letterbox.pad_value
        )


@dataclass(frozen=True, slots=True)
class ExpectedDetection:
    """A box in pixels of the picture; the class by its name, so that the order of names matters."""

    box_xyxy_px: tuple[float, float, float, float]
    score: float
    class_name: str


@dataclass(frozen=True, slots=True)
class GoldenPicture:
    """A picture and what must be found in it.

    Attributes:
        png: the encoded picture.
        placement: in the frame.
        detections: best first.
        features: what must be in the maps that the file shows, if it shows any.
    """

    png: bytes
    placement: ExpectedPlacement
    detections: tuple[ExpectedDetection, ...]
    features: tuple[ExpectedMap, ...] = ()


@dataclass(frozen=True, slots=True)
class Golden:
    """Golden pictures of one file.

    Attributes:
        nms: the suppression that the detections were found with.
        contract_sha256: fingerprint of the contract they were made for.
        pictures: at least one.
    """

    nms: NmsSettings
    contract_sha256: str
    pictures: tuple[GoldenPicture, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "nms": nms_to_dict(self.nms),
            "contract_sha256": self.contract_sha256,
            "pictures": [
                {
                    "png": base64.b64encode(picture.png).decode("ascii"),
                    "placement": asdict(picture.placement),
                    "detections": [
                        [*found.box_xyxy_px, found.score, found.class_name] for found in picture.detections
                    ],
                    **(
                        {"features": [kept.to_dict() for kept in picture.features]}
                        if picture.features
                        else {}
                    ),
                }
                for picture in self.pictures
            ],
        }

    @classmethod
    def from_fields(cls, parent: Fields, key: str) -> Golden:
        """Read what :meth:`to_dict` wrote. Raises CheckpointError."""
        read = parent.record(key, [field.name for field in fields(cls)])
        pictures = tuple(
            _picture(value, read.place(f"picture {number}"))
            for number, value in enumerate(read.several("pictures", 1, MAX_PICTURES))
        )
        return cls(nms_from_fields(read, "nms"), read.text("contract_sha256", 64, 64), pictures)


def _picture(value: object, where: str) -> GoldenPicture:
    keys = [field.name for field in fields(GoldenPicture)]
    shows = isinstance(value, dict) and "features" in value
    read = Fields.of(value, where, keys if shows else keys[:-1])
    encoded = read.text("png", MAX_PNG_BYTES * 4 // 3, 4)
    try:
        png = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise CheckpointError("is not base64", where=read.place("png")) from None
    placement = read.record("placement", [field.name for field in fields(ExpectedPlacement)])
    return GoldenPicture(
        png,
        ExpectedPlacement(
            frame_hw=_size(placement, "frame_hw"),
            resized_hw=_size(placement, "resized_hw"),
            top=placement.whole("top", 0, MAX_SIDE),
            left=placement.whole("left", 0, MAX_SIDE),
            pad_value=placement.whole("pad_value", 0, 255),
        ),
        tuple(
            _detection(row, read.place(f"detection {number}"))
            for number, row in enumerate(read.several("detections", 0, MAX_DETECTIONS))
        ),
        tuple(
            ExpectedMap.from_value(kept, read.place(f"feature map {number}"))
            for number, kept in enumerate(read.several("features", 1, MAX_MAPS) if shows else ())
        ),
    )


def _size(read: Fields, key: str) -> SizeHW:
    height, width = read.whole_numbers(key, (2, 2), 1, MAX_SIDE)
    return height, width


def _detection(row: object, where: str) -> ExpectedDetection:
    if not isinstance(row, list) or len(row) != 6:
        raise CheckpointError("must be x1, y1, x2, y2, score, class name", where=where)
    read = Fields({"box": row[:4], "score": row[4], "class": row[5]}, where)
    x1, y1, x2, y2 = read.numbers("box", 4, -_MAX_PX, _MAX_PX)
    return ExpectedDetection((x1, y1, x2, y2), read.number("score", 0, 1), read.text("class", 256, 1))
