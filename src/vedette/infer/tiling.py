"""Detection in tiles: a picture is looked at in overlapping parts at full size, and once more as a whole.

A tile is a picture: it is letterboxed, detected in and mapped back by the same :class:`Predictor` as any other. So this
works with every runtime, ensemble and augmentation. The rule that merges tiles is in :mod:`vedette.core.seams`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import NoReturn

import numpy as np

from vedette.core.letterbox import LetterboxPolicy
from vedette.core.nms import NmsSettings
from vedette.core.picture_format import PictureFormat
from vedette.core.provenance import FeatureKind
from vedette.core.seams import WHOLE_PICTURE, FoundInViews, merge_views
from vedette.core.tiles import TileGrid, tile_grid
from vedette.core.types import Detections, Image, SizeHW
from vedette.data.images import ImageLimits
from vedette.errors import ModelError
from vedette.infer.backends import Backend
from vedette.infer.predictor import Predictor, PreparedPicture

LARGE_PICTURES = ImageLimits(max_pixels=500_000_000, max_bytes=2_000_000_000)
"""What is accepted where pictures are looked at in tiles: 22,000 x 22,000 pixels, 1.5 GB once decoded."""

_VIEW_STAGES = ("preprocess", "inference", "postprocess")
_CPU_BATCH = 4
_GPU_BATCH = 16

_log = logging.getLogger(__name__)


class TiledPredictor:
    """A predictor that looks at pictures in tiles; it takes the same calls. Stateless: threads may share one.

    Args:
        predictor: looks at one tile.
        tile_hw: size of the tiles in pixels of the picture; they are scaled to the predictor's frames.
        overlap: of neighbouring tiles, as a part of their side, 0..0.9.
        whole: look at the whole picture as well, for what is too large for a tile.
        batch_size: tiles that go through the network together; 0: fitted to the device. Never more are held in memory.

    Raises:
        ModelError: size or overlap is out of range.
    """

    def __init__(
        self,
        predictor: Predictor,
        tile_hw: SizeHW,
        overlap: float = 0.2,
        *,
        whole: bool = True,
        batch_size: int = 0,
    ) -> None:
        tile_grid(tile_hw, tile_hw, overlap)  # refuses what is out of range
        self.predictor = predictor
        self.tile_hw = tile_hw
        self.overlap = overlap
        self.whole = whole
        on_cpu = str(predictor.backend.device) == "cpu"
        self.batch_size = batch_size or (_CPU_BATCH if on_cpu else _GPU_BATCH)

    @property
    def backend(self) -> Backend:
        """Runs the network."""
        return self.predictor.backend

    @property
    def letterbox(self) -> LetterboxPolicy:
        """How tiles, and the whole picture, become frames."""
        return self.predictor.letterbox

    @property
    def class_names(self) -> tuple[str, ...]:
        """By class id."""
        return self.predictor.class_names

    @property
    def nms(self) -> NmsSettings:
        """Suppression within each tile; its thresholds and limits also hold for the merged boxes."""
        return self.predictor.nms

    @property
    def picture_format(self) -> PictureFormat:
        """What pictures have to be made of."""
        return self.predictor.picture_format

    def with_settings(
        self, *, nms: NmsSettings | None = None, letterbox: LetterboxPolicy | None = None
    ) -> TiledPredictor:
        """A predictor with other settings that shares this one's network."""
        inner = self.predictor.with_settings(nms=nms, letterbox=letterbox)
        return TiledPredictor(inner, self.tile_hw, self.overlap, whole=self.whole, batch_size=self.batch_size)

    def to_dict(self) -> dict[str, object]:
        """How it looks at pictures, JSON-ready."""
        return {"tile_hw": list(self.tile_hw), "overlap": self.overlap, "whole": self.whole}

    def predict(
        self,
        images: Sequence[Image],
        paths: Sequence[str] | None = None,
        *,
        features: FeatureKind | None = None,
        feature_layer: int | str | None = None,
    ) -> list[Detections]:
        """Detections of pictures, as of :meth:`Predictor.predict`; where boxes come from is not known here."""
        names = [""] * len(images) if paths is None else list(paths)
        prepared = [self.prepare(image, path=name) for image, name in zip(images, names, strict=True)]
        return self.detect(prepared, features=features, feature_layer=feature_layer)

    def prepare(self, image: Image, *, path: str = "", decode_milliseconds: float = 0.0) -> PreparedPicture:
        """The frame of the whole picture, and the picture itself; tiles are cut when it is their turn.

        Raises:
            ModelError: the picture has another shape or type.
        """
        prepared = self.predictor.prepare(image, path=path, decode_milliseconds=decode_milliseconds)
        return replace(prepared, image=image)

    def detect(
        self,
        pictures: Sequence[PreparedPicture],
        *,
        features: FeatureKind | None = None,
        feature_layer: int | str | None = None,
    ) -> list[Detections]:
        """Detections of prepared pictures, in their order; times are sums over all views of a picture.

        Raises:
            ModelError: the network's output is not a number, or features were asked for.
        """
        if features is not None or feature_layer is not None:
            _refuse_features()
        grids = [self._grid(picture) for picture in pictures]
        found: list[list[tuple[int, Detections]]] = [[] for _ in pictures]
        views = self._views(pictures, grids)
        while batch := list(islice(views, self.batch_size)):
            answers = self.predictor.detect([prepared for _, _, prepared in batch])
            for (position, view, _), answer in zip(batch, answers, strict=True):
                found[position].append((view, answer))
        return [
            self._merged(picture, grid, parts)
            for picture, grid, parts in zip(pictures, grids, found, strict=True)
        ]

    def features(self, images: Sequence[Image], layers: Sequence[int | str]) -> NoReturn:
        """Not told. Raises ModelError."""
        _refuse_features()

    def _grid(self, picture: PreparedPicture) -> TileGrid:
        return tile_grid(picture.placement.source_hw, self.tile_hw, self.overlap)

    def _views(
        self, pictures: Sequence[PreparedPicture], grids: Sequence[TileGrid]
    ) -> Iterator[tuple[int, int, PreparedPicture]]:
        """Number of the picture, number of the view, and the view; made only when it is asked for."""
        for position, (picture, grid) in enumerate(zip(pictures, grids, strict=True)):
            if self.whole or len(grid) == 1:
                yield position, WHOLE_PICTURE, picture
            if len(grid) == 1:
                continue  # the tile is the whole picture
            if picture.image is None:
                raise ModelError("the picture was prepared by another predictor", where=picture.path)
            for number in range(len(grid)):
                tile = self.predictor.prepare(grid.cut(picture.image, number), path=picture.path)
                yield position, number, tile

    def _merged(
        self, picture: PreparedPicture, grid: TileGrid, parts: Sequence[tuple[int, Detections]]
    ) -> Detections:
        started = time.perf_counter()
        if len(parts) == 1:
            return parts[0][1]
        corners = grid.corners().astype(np.float32)
        boxes = [
            part.boxes_xyxy_px
            if view == WHOLE_PICTURE
            else part.boxes_xyxy_px + np.tile(corners[view, :2], 2)
            for view, part in parts
        ]
        everything = FoundInViews(
            np.concatenate(boxes),
            np.concatenate([part.scores for _, part in parts]),
            np.concatenate([part.class_ids for _, part in parts]),
            np.repeat([view for view, _ in parts], [len(part) for _, part in parts]),
        )
        merged, complete = merge_views(everything, grid, self.nms)
        if not complete:
            _log.warning(
                "more than %d boxes in the tiles of a picture: its weakest may be missing",
                self.nms.max_candidates,
            )
        spent = dict(picture.milliseconds) | {"inference": 0.0, "postprocess": 0.0}
        for view, part in parts:
            of_this_view = ("inference", "postprocess") if view == WHOLE_PICTURE else _VIEW_STAGES
            for stage in of_this_view:
                spent[stage] += part.milliseconds[stage]
        spent["postprocess"] += (time.perf_counter() - started) * 1000.0
        return Detections(
            boxes_xyxy_px=merged.boxes_xyxy_px,
            scores=merged.scores,
            class_ids=merged.class_ids,
            class_names=self.class_names,
            size_hw=grid.size_hw,
            path=picture.path,
            milliseconds=spent,
        )


AnyPredictor = Predictor | TiledPredictor
"""What finds boxes in pictures."""


def _refuse_features() -> NoReturn:
    raise ModelError(
        "boxes come from several tiles, not from one cell of one pass",
        where="features",
        fix="look at the picture, or at one tile of it, without tiles",
    )
