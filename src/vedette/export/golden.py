"""Golden pictures for an exported file: which, and what PyTorch finds in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from vedette.checkpoint.contract import ExportContract
from vedette.checkpoint.feature_maps import ExpectedMap
from vedette.checkpoint.golden import ExpectedDetection, ExpectedPlacement, Golden, GoldenPicture
from vedette.core.letterbox import LetterboxPolicy
from vedette.core.nms import NmsSettings
from vedette.core.types import Detections, Image
from vedette.data.images import read_image
from vedette.data.synthetic import draw_picture
from vedette.errors import ImageError
from vedette.infer.predictor import Predictor

if TYPE_CHECKING:
    from vedette.data.index import SplitIndex

COUNT = 3
LONG_SIDE = 320
"""They are small so that files stay small; a frame has the same size whatever the picture."""

_CANDIDATES = 24
_DRAWN = 12
_MIN_ASPECT = 1.2
_CUT_ASPECT = 4 / 3
_ENLARGED_PART = 0.6
_MAX_DETECTIONS = 100
_ENOUGH = 20
_THRESHOLDS = (0.25, 0.1, 0.03, 0.01, 0.003, 0.001, 1e-4, 0.0)
_DRAWN_HW = (240, 320)


def candidates(files: Sequence[str], index: SplitIndex | None, letterbox: LetterboxPolicy) -> list[Image]:
    """Pictures to choose from: the files, or those of a split evenly, or drawn ones.

    They are cut and shrunk such that every rule of the letterbox leaves its mark: all are padded in their frames, and
    every other one is smaller than its frame.

    Raises:
        ImageError: one of the files cannot be read.
    """
    pictures = islice(_pictures(files, index), _CANDIDATES)
    return [_fitted(picture, letterbox, number % 2 == 1) for number, picture in enumerate(pictures)]


def _pictures(files: Sequence[str], index: SplitIndex | None) -> Iterator[Image]:
    if files:
        yield from (read_image(Path(name)) for name in files)
    elif index is not None:
        for number in np.unique(np.linspace(0, len(index) - 1, _CANDIDATES).round().astype(np.int64)):
            try:
                yield read_image(index.image_path(int(number)))
            except ImageError:  # the evaluation lists what cannot be read
                continue
    else:
        for number in range(_DRAWN):
            yield draw_picture("golden", number, seed=0, size_hw=_DRAWN_HW).image


def golden_pictures(pictures: Sequence[Image], predictor: Predictor, contract: ExportContract) -> Golden:
    """Some of the pictures with what the predictor finds in them.

    The threshold is that of the contract, lowered until something is found: a file whose golden pictures were empty
    would prove nothing. Suppression that is built in stays as it is.

    Args:
        pictures: of :func:`candidates`; those with more detections go first, and one of both sizes is always
            among them.
        predictor: PyTorch, float32.
        contract: of the file, without golden pictures.
    """
    fitted = predictor.with_settings(letterbox=contract.letterbox)
    for threshold in _thresholds(contract):
        settings = _settings(contract, threshold)
        # One by one: what is found must not depend on how pictures were batched.
        finder = fitted.with_settings(nms=settings)
        seen = [(picture, finder.predict([picture])[0]) for picture in pictures]
        if any(len(found) for _, found in seen):
            break
    large, small = (
        sorted(half, key=lambda pair: -min(len(pair[1]), _ENOUGH)) for half in (seen[::2], seen[1::2])
    )
    chosen = [*large[:1], *small[:1], *large[1:], *small[1:]][:COUNT]
    golden = tuple(
        _golden(picture, found, contract, expected_maps(picture, fitted, contract))
        for picture, found in chosen
    )
    return Golden(settings, contract.fingerprint(), golden)


def expected_maps(picture: Image, predictor: Predictor, contract: ExportContract) -> tuple[ExpectedMap, ...]:
    """What is kept of the maps that a file shows, computed by a predictor with its letterbox."""
    if contract.features is None:
        return ()
    maps = predictor.features([picture], contract.features.layers)
    return tuple(ExpectedMap.of(int(layer), found) for layer, (found,) in maps.items())


def _thresholds(contract: ExportContract) -> list[float]:
    if contract.nms is not None:
        return [contract.nms.conf_threshold]
    first = contract.thresholds.conf_threshold
    return [first, *(threshold for threshold in _THRESHOLDS if threshold < first)]


def _settings(contract: ExportContract, threshold: float) -> NmsSettings:
    if contract.nms is not None:
        return contract.nms
    found = NmsSettings(conf_threshold=threshold, iou_threshold=contract.thresholds.iou_threshold)
    return replace(found, max_detections=_MAX_DETECTIONS)


def _golden(
    picture: Image, found: Detections, contract: ExportContract, features: tuple[ExpectedMap, ...]
) -> GoldenPicture:
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))
    placement = contract.letterbox.place((picture.shape[0], picture.shape[1]))
    return GoldenPicture(
        encoded.tobytes(),
        ExpectedPlacement.of(placement),
        tuple(
            ExpectedDetection(
                (round(x1, 3), round(y1, 3), round(x2, 3), round(y2, 3)),
                round(score, 6),
                found.class_names[number],
            )
            for (x1, y1, x2, y2), score, number in zip(
                found.boxes_xyxy_px.tolist(), found.scores.tolist(), found.class_ids.tolist(), strict=True
            )
        ),
        features,
    )


def _fitted(picture: Image, letterbox: LetterboxPolicy, enlarged: bool) -> Image:
    """A part of the picture that is padded in its frame, at most ``LONG_SIDE`` long or small enough to be enlarged."""
    height, width = picture.shape[:2]
    frame_h, frame_w = letterbox.size_hw
    flatness = width / height * frame_h / frame_w
    if max(flatness, 1 / flatness) < _MIN_ASPECT:
        height = max(round(width * frame_h / frame_w / _CUT_ASPECT), 1)
        picture = picture[:height]
    longest = min(LONG_SIDE, _ENLARGED_PART * min(frame_h, frame_w)) if enlarged else LONG_SIDE
    scale = min(1.0, longest / max(height, width))
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return np.ascontiguousarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
