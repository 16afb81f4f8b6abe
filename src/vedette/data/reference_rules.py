"""What the published v4.0 code would have kept, for people who compare results with it.

vedette leaves out single rows; the reference drops a whole picture for one bad row in its label file. The rule is
stated over our defects: a picture is dropped if it or its label file has a defect of one of these kinds. (A row is
named for the first thing that is wrong with it, so a row with two faults of which the reference minds only the
second, such as an underscore and a coordinate over 1, is taken for kept.)
"""

from __future__ import annotations

from collections.abc import Iterable

from vedette.data.defects import Defect

DROPPED_BY_YOLOV5_V4 = frozenset(
    {
        # Text that does not become a table of five columns of numbers
        "byte-order-mark",
        "utf-16",
        "nul-byte",
        "binary",
        "comment",
        "blank-line",
        "column-count",
        "polygon",
        "polygon-odd",
        "comma-separated",
        "decimal-comma",
        "hexadecimal",
        "not-a-number",
        "class-text",
        # Values
        "class-negative",
        "out-of-range",
        "pixel-coordinates",
        "infinite",
        "nan",
        "duplicate",
        # Pictures
        "picture-missing",
        "picture-unreadable",
        "picture-too-small",
    }
)
"""Kinds for which v4.0 drops the picture. It keeps, for example, zero-size, crosses-edge and class-not-integer."""


def yolov5_keeps_image(defects: Iterable[Defect]) -> bool:
    """Whether v4.0 would train on a picture, given the defects of the picture and of its label file."""
    return not any(defect.kind in DROPPED_BY_YOLOV5_V4 for defect in defects)
