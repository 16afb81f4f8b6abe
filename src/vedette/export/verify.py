"""Does an exported file find what PyTorch finds? On its golden pictures, and on a data set.

The golden pictures and what PyTorch found in them are in the file, so that this part needs no checkpoint and no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vedette.checkpoint.contract import ExportContract
from vedette.checkpoint.golden import ExpectedPlacement, GoldenPicture
from vedette.config.export import VerifyConfig
from vedette.core.types import Image
from vedette.data.images import ImageLimits, decode_image
from vedette.errors import CheckpointError, ImageError, UsageError
from vedette.export.differences import Differences, FoundBoxes, Tolerance, compare, tolerance_for
from vedette.export.golden import expected_maps
from vedette.infer.backends.files import open_file
from vedette.infer.predictor import Predictor

if TYPE_CHECKING:
    from vedette.export.on_data import DataReference

_LIMITS = ImageLimits(max_pixels=4_000_000, max_bytes=4_194_304, formats=("png",))


@dataclass(frozen=True, slots=True)
class Verification:
    """What came out.

    Attributes:
        file: its name.
        format: likewise.
        precision: of the file.
        runs_in: number format that the runtime computed in.
        tolerance: that was allowed.
        golden: differences on the golden pictures.
        data: differences on the data set; None without one.
        ap: AP of PyTorch and of the file on it, 0..1; None without labels or data.
        problems: what was beyond the tolerance; empty: the file is as it should be.
        features: by name of a layer that the file shows, the greatest difference of its map on the golden pictures.
    """

    file: str
    format: str
    precision: str
    runs_in: str
    tolerance: Tolerance
    golden: Differences
    data: Differences | None
    ap: tuple[float, float] | None
    problems: tuple[str, ...]
    features: Mapping[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether nothing was beyond the tolerance."""
        return not self.problems

    @property
    def ap_change(self) -> float | None:
        """AP of the file minus AP of PyTorch."""
        return None if self.ap is None else self.ap[1] - self.ap[0]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "file": self.file,
            "format": self.format,
            "precision": self.precision,
            "runs_in": self.runs_in,
            "passed": self.passed,
            "problems": list(self.problems),
            "tolerance": {
                name: getattr(self.tolerance, name)
                for name in ("min_overlap", "max_score", "max_differing", "max_ap", "max_feature")
            },
            "golden": self.golden.to_dict(),
            "features": dict(self.features),
            "data": None if self.data is None else self.data.to_dict(),
            "ap_pytorch": None if self.ap is None else self.ap[0],
            "ap_file": None if self.ap is None else self.ap[1],
            "ap_change": self.ap_change,
        }


def verify(config: VerifyConfig, reference: DataReference | None = None) -> Verification:
    """Compare a file with PyTorch.

    Args:
        config: the file, the tolerance, and where to run it.
        reference: PyTorch on a data set; None: opened if ``config`` names one.

    Raises:
        CheckpointError: the file is not accepted, or carries no golden pictures.
        UsageError: a data set without the checkpoint.
        MissingExtraError: the runtime of the file, or what measures AP, is not installed.
    """
    path = Path(config.file)
    opened = open_file(path, device=config.device, precision="float32", threads=config.threads)
    contract = opened.contract
    if contract is None or contract.golden is None:
        raise CheckpointError(
            "carries no golden pictures", where=path, fix="name a file that `vedette export` wrote"
        )
    runs_in = str(opened.backend.precision)
    tolerance = _tolerance(config, contract.precision, runs_in)
    predictor = Predictor(opened.backend, opened.letterbox, opened.class_names, contract.golden.nms)
    pictures = [_picture(picture, path, number) for number, picture in enumerate(contract.golden.pictures)]
    golden, problems = _on_golden_pictures(predictor, contract, tolerance, pictures)
    features = feature_differences(predictor, contract, pictures)
    problems += [
        f"feature maps: {name} differs by {apart:.4g} of its values (greatest allowed {tolerance.max_feature:g})"
        for name, apart in features.items()
        if apart > tolerance.max_feature
    ]
    if reference is None and (config.data or config.weights):
        reference = _reference(config)
    data, ap = None, None
    if reference is not None:
        problems += reference.contradictions(contract)
        if reference.index is not None:
            data, ap = reference.compare(predictor, contract, tolerance)
            problems += data.problems(tolerance, "data set")
            if abs(ap[1] - ap[0]) > tolerance.max_ap:
                problems.append(
                    f"data set: AP changes by {ap[1] - ap[0]:+.4f} (greatest allowed {tolerance.max_ap:g})"
                )
    return Verification(
        path.name,
        contract.format,
        contract.precision,
        runs_in,
        tolerance,
        golden,
        data,
        ap,
        tuple(problems),
        features,
    )


def _tolerance(config: VerifyConfig, *precisions: str) -> Tolerance:
    given = {
        "min_overlap": config.min_overlap,
        "max_score": config.max_score_difference,
        "max_differing": config.max_differing,
        "max_ap": config.max_ap_change,
        "max_feature": config.max_feature_difference,
    }
    asked = {name: value for name, value in given.items() if value is not None}
    return replace(tolerance_for(*precisions), **asked)


def _on_golden_pictures(
    predictor: Predictor, contract: ExportContract, tolerance: Tolerance, pictures: Sequence[Image]
) -> tuple[Differences, list[str]]:
    golden = contract.golden
    assert golden is not None  # checked by the caller
    problems = []
    if golden.contract_sha256 != contract.fingerprint():
        problems.append("contract: it was changed after the golden detections were made")
    for number, (image, picture) in enumerate(zip(pictures, golden.pictures, strict=True)):
        placed = ExpectedPlacement.of(contract.letterbox.place((image.shape[0], image.shape[1])))
        if placed != picture.placement:
            problems.append(
                f"golden picture {number}: it lies in its frame as {placed}, and not as {picture.placement}"
            )
    found = [FoundBoxes.of(detections) for image in pictures for detections in predictor.predict([image])]
    expected = [_expected(picture) for picture in golden.pictures]
    differences = compare(
        expected,
        found,
        conf_threshold=golden.nms.conf_threshold,
        max_detections=golden.nms.max_detections,
        tolerance=tolerance,
    )
    return differences, [*problems, *differences.problems(tolerance, "golden pictures")]


def feature_differences(
    predictor: Predictor, contract: ExportContract, pictures: Sequence[Image]
) -> dict[str, float]:
    """How far the maps that a file shows are from those of PyTorch, the greatest of all golden pictures, by name."""
    if contract.features is None or contract.golden is None:
        return {}
    apart = [0.0] * len(contract.features.maps)
    for image, golden in zip(pictures, contract.golden.pictures, strict=True):
        for number, found in enumerate(expected_maps(image, predictor, contract)):
            expected = next(kept for kept in golden.features if kept.layer == found.layer)
            apart[number] = max(apart[number], expected.difference(found))
    names = [" = ".join((*shown.names, f"layer {shown.layer}")) for shown in contract.features.maps]
    return dict(zip(names, apart, strict=True))


def _picture(picture: GoldenPicture, path: Path, number: int) -> Image:
    try:
        return decode_image(picture.png, where=f"{path}: golden picture {number}", limits=_LIMITS)
    except ImageError as error:
        raise CheckpointError(error.what, where=error.where, fix="use another copy of the file") from None


def _expected(picture: GoldenPicture) -> FoundBoxes:
    boxes: Sequence[Sequence[float]] = [found.box_xyxy_px for found in picture.detections]
    return FoundBoxes(
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        np.array([found.score for found in picture.detections], dtype=np.float32),
        tuple(found.class_name for found in picture.detections),
    )


def _reference(config: VerifyConfig) -> DataReference:
    if not config.weights:
        raise UsageError(
            "comparing on a data set needs the checkpoint",
            where="--data",
            fix="give --weights CHECKPOINT too",
        )
    from vedette.export.on_data import open_reference

    return open_reference(Path(config.weights), config.data, config.split)
