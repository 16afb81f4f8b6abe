"""A table with every kind of layer of v4.0 once: torch's reasoning on open sizes takes half a second for each layer."""

from __future__ import annotations

from tests.model.test_fuse import stir
from vedette.model.detector import Detector, build_detector
from vedette.model.releases import detect, row
from vedette.model.rows import NEAREST_TOKEN, Architecture


def small_detector() -> Detector:
    """Levels of stride 2 and 4, two classes, one anchor a level."""
    rows = (
        row("Focus", 8, 3),
        row("C3", 8, False),
        row("Conv", 8, 3, 2),
        row("SPP", 8, (5, 9)),
        row("Upsample", None, 2, NEAREST_TOKEN),
        row("Concat", 1, source=(-1, 1)),
        detect(5, 3),
    )
    detector = build_detector(
        Architecture(
            name="small",
            release="v4.0",
            rows=rows,
            backbone_rows=4,
            classes=2,
            channels=3,
            anchors_px=(((10.0, 13.0),), ((30.0, 61.0),)),
            depth_multiple=0.33,
            width_multiple=1.0,
        ),
        seed=1,
    )
    stir(detector)
    return detector.eval()
