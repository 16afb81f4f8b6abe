"""Pictures to detections: letterbox, network, suppression, back to picture pixels.

Everything that looks at pictures with a trained detector (validation while training, ``val``, ``detect``) goes
through :class:`Predictor`, so that none can differ from another in letterbox, number format or suppression.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from vedette.core.device import Precision
from vedette.core.letterbox import Letterbox, LetterboxPolicy
from vedette.core.nms import NmsSettings, Suppressed
from vedette.core.picture_format import RGB8, PictureFormat
from vedette.core.provenance import FeatureKind
from vedette.core.types import BoolArray, Detections, FloatArray, Image
from vedette.errors import ModelError, UsageError
from vedette.infer.backends import (
    Backend,
    Frames,
    Inspection,
    Outputs,
    inspectable,
)
from vedette.infer.backends.files import open_file
from vedette.infer.frame_fit import fit_to_backend
from vedette.infer.provenance import FeatureRequest, decode_boxes, feature_request, trace

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PreparedPicture:
    """A picture in its frame, ready for the network.

    Attributes:
        frame: RGB uint8 [H, W, 3], or of another picture format.
        placement: where the picture lies in it.
        path: where the picture came from, or "".
        milliseconds: time spent so far, by stage.
        image: the picture itself, where it is also looked at in tiles.
    """

    frame: Image
    placement: Letterbox
    path: str = ""
    milliseconds: dict[str, float] = field(default_factory=dict)
    image: Image | None = None


class Predictor:
    """A backend with its preprocessing contract, class names and suppression. Stateless: threads may share one.

    Args:
        backend: runs the network.
        letterbox: how pictures become frames. A size that is no multiple of the largest stride is raised to the
            next one, with a logged warning.
        class_names: one a class.
        nms: which predictions become detections.

    Raises:
        ModelError: the number of names is not the backend's number of classes.
        UsageError: a class to keep does not exist.
    """

    def __init__(
        self,
        backend: Backend,
        letterbox: LetterboxPolicy,
        class_names: Sequence[str],
        nms: NmsSettings | None = None,
    ) -> None:
        self.backend = backend
        self.class_names = tuple(class_names)
        self.nms = nms or NmsSettings()
        self.letterbox = fit_to_backend(letterbox, backend)
        if len(self.class_names) != backend.classes:
            raise ModelError(
                f"there are {len(self.class_names)} class names for a detector of {backend.classes} classes"
            )
        unknown = [number for number in self.nms.class_ids or () if not 0 <= number < backend.classes]
        if unknown:
            raise UsageError(
                f"there is no class {unknown[0]}",
                where="--classes",
                fix=f"the detector has classes 0 to {backend.classes - 1}",
            )

    @property
    def picture_format(self) -> PictureFormat:
        """What pictures have to be made of; files are best read with it."""
        return self.letterbox.picture_format

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        *,
        device: str = "",
        precision: Precision = "float32",
        nms: NmsSettings | None = None,
        threads: int = 0,
        compile: bool = False,
    ) -> Predictor:
        """The predictor of a checkpoint or exported file, with the names and the letterbox it carries.

        Args:
            path: the file or folder; what it is decides which runtime opens it.
            device: "cpu", "0", "cuda:0" or "mps"; "": the best there is.
            precision: number format of the network; "auto": what the device, or the file, is fastest with.
            nms: which predictions become detections; None: the defaults, or what the file has built in.
            threads: CPU threads of a runtime other than PyTorch; 0: all.
            compile: run a checkpoint through torch.compile.

        Raises:
            CheckpointError: the file is missing, damaged or foreign.
            UsageError: there is no such device, or it has no such precision.
            MissingExtraError: the runtime of the file is not installed.
        """
        opened = open_file(Path(path), device=device, precision=precision, threads=threads, compile=compile)
        return cls(opened.backend, opened.letterbox, opened.class_names, nms or opened.nms)

    def with_settings(
        self, *, nms: NmsSettings | None = None, letterbox: LetterboxPolicy | None = None
    ) -> Predictor:
        """A predictor with other settings that shares this one's network."""
        return Predictor(self.backend, letterbox or self.letterbox, self.class_names, nms or self.nms)

    def predict(
        self,
        images: Sequence[Image],
        paths: Sequence[str] | None = None,
        *,
        features: FeatureKind | None = None,
        feature_layer: int | str | None = None,
    ) -> list[Detections]:
        """Detections of pictures, in their order.

        Args:
            images: RGB uint8 [H, W, 3], of any sizes; for a detector of another picture format arrays of that, or
                8-bit RGB, as cameras and videos give it, where it can be converted.
            paths: what to call them, one each.
            features: also say where every box comes from, with a vector that describes it; see :meth:`detect`.
            feature_layer: see :meth:`detect`.

        Returns:
            One value a picture; boxes in its pixels, clipped to it, not rounded. A box that lies wholly outside
            the picture, in the padding of the frame, is none. Results do not depend on what else is in the
            batch, beyond the rounding of float32 sums.

        Raises:
            ModelError: a picture has another shape or type, or the network's output is not a number.
            UsageError: see :meth:`detect`.
        """
        names = [""] * len(images) if paths is None else list(paths)
        prepared = [self.prepare(image, path=name) for image, name in zip(images, names, strict=True)]
        return self.detect(prepared, features=features, feature_layer=feature_layer)

    def prepare(self, image: Image, *, path: str = "", decode_milliseconds: float = 0.0) -> PreparedPicture:
        """Letterbox one picture; what a thread does ahead of :meth:`detect`. Raises ModelError."""
        started = time.perf_counter()
        pictures = self.picture_format
        if image.ndim != 3:
            expected = f"[H, W, {pictures.channels}]"
            raise ModelError(f"the picture has shape {list(image.shape)}, expected {expected}", where=path)
        if pictures != RGB8 and not pictures.holds(image) and RGB8.holds(image) and pictures.fits(3):
            image = pictures.fitted(image)
        placement = self.letterbox.place((image.shape[0], image.shape[1]))
        frame = placement.apply(image)
        milliseconds = {"decode": decode_milliseconds, "preprocess": _milliseconds_since(started)}
        return PreparedPicture(frame, placement, path, milliseconds)

    def detect(
        self,
        pictures: Sequence[PreparedPicture],
        *,
        features: FeatureKind | None = None,
        feature_layer: int | str | None = None,
    ) -> list[Detections]:
        """Detections of prepared pictures, in their order; frames of one size go through the network together.

        Args:
            pictures: of :meth:`prepare`.
            features: fill ``Detections.provenance``: level, cell, anchor and logits of every box, and a vector.
                "cell": what the output convolution of the box read. "roi": the mean of one layer over the box.
                None: neither computed nor kept.
            feature_layer: for "roi": number or name of the layer; None: the input of the finest level.

        Raises:
            ModelError: the network's output is not a number, there is no such layer, or the backend cannot show
                its inside.
            UsageError: the features make no sense, or suppression merges boxes, which then come from no one cell.
        """
        request = None if features is None else self._feature_request(features, feature_layer)
        found: dict[int, Detections] = {}
        for positions in _by_frame_size(pictures):
            group = [pictures[position] for position in positions]
            found.update(zip(positions, self._detect_group(group, request), strict=True))
        return [found[position] for position in range(len(pictures))]

    def features(
        self, images: Sequence[Image], layers: Sequence[int | str]
    ) -> dict[int | str, list[FloatArray]]:
        """Outputs of chosen layers for pictures, letterboxed as for detection; docs/features.md.

        Args:
            images: RGB uint8 [H, W, 3], of any sizes.
            layers: row numbers or names, such as ``backbone.p3`` or ``neck.p4``; ``vedette info`` lists the rows.

        Returns:
            By layer, under the key it was asked by, one float32 map [c, h, w] a picture. It covers the frame:
            ``prepare(image).placement`` maps its pixels to those of the picture.

        Raises:
            ModelError: a picture has another shape or type, there is no such layer, or the backend cannot show
                its inside.
        """
        pictures = [self.prepare(image) for image in images]
        backend = inspectable(self.backend, "features")
        maps: dict[int | str, dict[int, FloatArray]] = {layer: {} for layer in layers}
        for positions in _by_frame_size(pictures):
            frames = np.stack([pictures[position].frame for position in positions])
            parts = [backend.features(part, layers) for part in self._in_parts(frames)]
            for layer, found in maps.items():
                # The last batch may have been filled up.
                found.update(zip(positions, (one for part in parts for one in part[layer]), strict=False))
        return {layer: [found[number] for number in range(len(pictures))] for layer, found in maps.items()}

    def infer_frames(self, frames: Frames) -> list[FloatArray]:
        """Detections of ready frames, in frame pixels.

        Args:
            frames: RGB uint8 [B, H, W, 3]; sides are multiples of the largest stride.

        Returns:
            One float32 array [n, 6] a frame: x1, y1, x2, y2, score, class; best first; not clipped.

        Raises:
            ModelError: frames of another shape or type, or the network's output is not a number.
        """
        return [
            result.detections for outputs in self.run_in_parts(frames) for result in self.suppress(outputs)
        ][: len(frames)]

    def suppress(self, outputs: Outputs) -> list[Suppressed]:
        """What to keep of a network's outputs, one value a picture, in frame pixels.

        Raises:
            ModelError: an output is not a number.
        """
        results = outputs.suppress(self.nms)
        if any(result.non_finite_rows for result in results):
            raise ModelError(
                f"the network's output is not a number (precision {self.backend.precision})",
                fix="check the weights, or use --precision float32",
            )
        if not all(result.complete for result in results):
            _log.warning(
                "more than %d candidates in a picture: its weakest boxes may be missing",
                self.nms.max_candidates,
            )
        return results

    def run_in_parts(self, frames: Frames) -> list[Outputs]:
        """The outputs of frames, in batches of the size that the backend takes, the last filled up.

        Raises:
            ModelError: frames of another shape or type than the network takes.
        """
        return [self.backend.run(part) for part in self._in_parts(frames)]

    def _in_parts(self, frames: Frames) -> list[Frames]:
        size = self.backend.batch_size
        if size is None or len(frames) == size:
            return [frames]
        missing = -len(frames) % size
        filled = np.concatenate((frames, np.repeat(frames[-1:], missing, axis=0))) if missing else frames
        return [filled[first : first + size] for first in range(0, len(filled), size)]

    def _feature_request(self, kind: FeatureKind, layer: int | str | None) -> FeatureRequest:
        backend = inspectable(self.backend, "features")
        if self.nms.merge:
            raise UsageError(
                "merged boxes come from no one cell",
                where=f"features={kind!r:.80}",
                fix="use suppression without merge",
            )
        return feature_request(kind, layer, backend.level_inputs, backend.strides)

    def _detect_group(
        self, group: Sequence[PreparedPicture], request: FeatureRequest | None
    ) -> list[Detections]:
        started = time.perf_counter()
        frames = np.stack([picture.frame for picture in group])
        seen: list[tuple[Inspection, int]] = []
        parts: list[Outputs]
        if request is None:
            parts = self.run_in_parts(frames)
        else:
            backend = inspectable(self.backend, "features")
            inspections = [backend.inspect(part, request.layers) for part in self._in_parts(frames)]
            parts = [inspection.outputs for inspection in inspections]
            seen = [(one, row) for one in inspections for row in range(len(one.outputs.levels[0]))]
        inference = _milliseconds_since(started) / len(group)
        started = time.perf_counter()
        results = [result for outputs in parts for result in self.suppress(outputs)][: len(group)]
        found = [self._to_picture(result, picture) for result, picture in zip(results, group, strict=True)]
        shared = {"inference": inference, "postprocess": _milliseconds_since(started) / len(group)}
        detections = []
        for number, (there, inside) in enumerate(found):
            picture = group[number]
            changes: dict[str, Any] = {"milliseconds": {**picture.milliseconds, **shared}}
            if request is not None:
                rows = results[number].rows[inside]
                provenance = trace(*seen[number], rows, request, picture.placement)
                changes |= {"provenance": provenance, "boxes_xyxy_px": decode_boxes(provenance)}
            detections.append(replace(there, **changes))
        return detections

    def _to_picture(self, result: Suppressed, picture: PreparedPicture) -> tuple[Detections, BoolArray]:
        """Detections of one picture, and which of the suppressed rows they are, bool."""
        rows = result.detections
        boxes = picture.placement.boxes_to_source(rows[:, :4])
        # What lies wholly in the padding has no area in the picture.
        inside: BoolArray = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        found = Detections(
            boxes_xyxy_px=boxes[inside],
            scores=rows[inside, 4],
            class_ids=rows[inside, 5].astype(np.int64),
            class_names=self.class_names,
            size_hw=picture.placement.source_hw,
            path=picture.path,
        )
        return found, inside


def _by_frame_size(pictures: Sequence[PreparedPicture]) -> list[list[int]]:
    """Positions of pictures whose frames have one size, group by group."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for position, picture in enumerate(pictures):
        groups.setdefault(picture.frame.shape, []).append(position)
    return list(groups.values())


def _milliseconds_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000.0
