"""Letterbox: fit a picture into the frame of the network, and map boxes there and back.

:class:`LetterboxPolicy` is the preprocessing contract as data: checkpoints and exported files carry it.
:class:`Letterbox` is what the policy makes of one picture size. Rules: inference.md, section 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from vedette.core.boxes import BoxesT, clip_boxes
from vedette.core.picture_format import RGB8, PictureFormat
from vedette.core.resample import resize
from vedette.core.types import Image, SizeHW
from vedette.errors import ModelError, nearest

FrameShape = Literal["square", "minimal", "stretch"]

MAX_SIDE = 16_384
MAX_STRIDE = 1_024

# What every vedette model expects besides the geometry. Written into the contract so that a foreign runtime
# can reproduce it, and compared on reading: a file that says otherwise is not ours to interpret.
_CONSTANTS: dict[str, Any] = {
    "colour_order": "rgb",
    "scale": 1 / 255,
    "layout": "nchw",
    "interpolation": "bilinear",
}
_FORMAT_KEY = "picture_format"


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How one picture size lies in its frame. Made by :meth:`LetterboxPolicy.place`.

    Attributes:
        source_hw: size of the picture.
        frame_hw: size of the frame.
        resized_hw: size of the picture inside the frame.
        ratio_wh: the scale asked for, before rounding to whole pixels.
        pad_wh: half of the padding of each direction, may end in .5 (the published convention).
        top: rows of padding above the picture; ``bottom``, ``left``, ``right`` likewise.
        left: see ``top``.
        bottom: see ``top``.
        right: see ``top``.
        pad_value: grey value of the padding, 0..255.
        picture_format: of the picture and of the frame.
    """

    source_hw: SizeHW
    frame_hw: SizeHW
    resized_hw: SizeHW
    ratio_wh: tuple[float, float]
    pad_wh: tuple[float, float]
    top: int
    left: int
    bottom: int
    right: int
    pad_value: int
    picture_format: PictureFormat = RGB8

    def apply(self, image: Image, out: Image | None = None) -> Image:
        """Resize bilinearly and pad.

        Args:
            image: [H, W, channels] of the size and the picture format this letterbox was made for.
            out: where to write, [frame height, frame width, channels], C-contiguous; spares an allocation
                when frames are gathered in one batch array.

        Returns:
            The frame, ``out`` if it was given.

        Raises:
            ModelError: an array has another shape or type.
        """
        pictures = self.picture_format
        _check_picture(image, self.source_hw, pictures, "picture")
        if out is None:
            out = np.empty((*self.frame_hw, pictures.channels), dtype=pictures.dtype)
        else:
            _check_picture(out, self.frame_hw, pictures, "frame to write into")
            if not out.flags.c_contiguous:
                raise ModelError("the frame to write into is not C-contiguous")
        height, width = self.resized_hw
        inside = out[self.top : self.top + height, self.left : self.left + width]
        if self.resized_hw == self.source_hw:
            inside[...] = image
        else:
            # OpenCV writes straight into the window; one pass less than resizing and then copying a border.
            resize(image, (height, width), cv2.INTER_LINEAR, out=inside)
        padding = pictures.grey(self.pad_value)
        out[: self.top] = padding
        out[self.top + height :] = padding
        out[self.top : self.top + height, : self.left] = padding
        out[self.top : self.top + height, self.left + width :] = padding
        return out

    def boxes_to_frame(self, boxes_xyxy_px: BoxesT) -> BoxesT:
        """Boxes of the picture as boxes of the frame: [..., 4], in pixels, not clipped.

        Uses the whole-pixel size and place of the picture inside the frame, so boxes stay on their pixels.
        """
        return _scale_and_shift(boxes_xyxy_px, self._scale_xy(), (self.left, self.top))

    def boxes_to_source(self, boxes_xyxy_px: BoxesT, clip: bool = True) -> BoxesT:
        """Boxes of the frame as boxes of the picture: [..., 4], in pixels; clipped to it unless told not to."""
        scale_x, scale_y = self._scale_xy()
        boxes = _scale_and_shift(
            boxes_xyxy_px, (1 / scale_x, 1 / scale_y), (-self.left / scale_x, -self.top / scale_y)
        )
        return clip_boxes(boxes, self.source_hw) if clip else boxes

    def _scale_xy(self) -> tuple[float, float]:
        return self.resized_hw[1] / self.source_hw[1], self.resized_hw[0] / self.source_hw[0]


@dataclass(frozen=True, slots=True)
class LetterboxPolicy:
    """The preprocessing contract: how pictures of any size become frames.

    Attributes:
        size_hw: (height, width) to fit the picture into.
        stride: largest stride of the network.
        shape: "square": the frame is ``size_hw``. "minimal": padding only up to the next multiple of the stride
            (called auto elsewhere). "stretch": the picture fills ``size_hw``, aspect ratio not kept.
        scale_up: whether small pictures are enlarged; no meaning for "stretch".
        pad_value: grey value of the padding, 0..255; of deeper pictures the value that is as bright.
        picture_format: what pictures and frames are made of.

    Raises:
        ModelError: a value is of the wrong type or out of range; names the field.
    """

    size_hw: SizeHW = (640, 640)
    stride: int = 32
    shape: FrameShape = "square"
    scale_up: bool = True
    pad_value: int = 114
    picture_format: PictureFormat = RGB8

    def __post_init__(self) -> None:
        if not isinstance(self.size_hw, tuple) or len(self.size_hw) != 2:
            raise ModelError(
                "must be two whole numbers (height, width)",
                where=_field("size_hw"),
                fix=f"got {self.size_hw!r:.80}",
            )
        for side in self.size_hw:
            _check_whole("size_hw", side, 1, MAX_SIDE)
        _check_whole("stride", self.stride, 1, MAX_STRIDE)
        _check_whole("pad_value", self.pad_value, 0, 255)
        if not isinstance(self.shape, str) or self.shape not in get_args(FrameShape):
            raise ModelError(
                f"unknown shape {self.shape!r:.80}",
                where=_field("shape"),
                fix=nearest(str(self.shape)[:80], get_args(FrameShape)),
            )
        if not isinstance(self.scale_up, bool):
            raise ModelError("must be true or false", where=_field("scale_up"))

    def place(self, source_hw: SizeHW) -> Letterbox:
        """Where a picture of size ``source_hw`` goes. Sides that would vanish become 1 pixel.

        Raises:
            ModelError: the picture has no pixels.
        """
        height, width = _checked_size(source_hw)
        size_h, size_w = self.size_hw
        if self.shape == "stretch":
            resized, ratio_wh = self.size_hw, (size_w / width, size_h / height)
            spare_h = spare_w = 0
        else:
            ratio = min(size_h / height, size_w / width)
            if not self.scale_up:
                ratio = min(ratio, 1.0)
            # Python rounds half to even, as the rule asks.
            resized = (max(round(height * ratio), 1), max(round(width * ratio), 1))
            ratio_wh = (ratio, ratio)
            spare_h, spare_w = size_h - resized[0], size_w - resized[1]
        if self.shape == "minimal":
            spare_h, spare_w = spare_h % self.stride, spare_w % self.stride
        # An odd pixel goes to the bottom and to the right.
        top, left = spare_h // 2, spare_w // 2
        return Letterbox(
            source_hw=(height, width),
            frame_hw=(resized[0] + spare_h, resized[1] + spare_w),
            resized_hw=resized,
            ratio_wh=ratio_wh,
            pad_wh=(spare_w / 2, spare_h / 2),
            top=top,
            left=left,
            bottom=spare_h - top,
            right=spare_w - left,
            pad_value=self.pad_value,
            picture_format=self.picture_format,
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready contract: the fields, and the constants a foreign runtime needs (colour, scale, layout).

        For 8-bit RGB it has no ``picture_format``, as before there was any other. For others it has, and ``scale``
        is that of a value from which the lowest of the range was subtracted; readers that know 8-bit RGB alone
        refuse it.
        """
        contract = {
            "size_hw": list(self.size_hw),
            "stride": self.stride,
            "shape": self.shape,
            "scale_up": self.scale_up,
            "pad_value": self.pad_value,
            **_constants(self.picture_format),
        }
        if self.picture_format != RGB8:
            contract[_FORMAT_KEY] = self.picture_format.to_dict()
        return contract

    @classmethod
    def from_dict(cls, values: object) -> LetterboxPolicy:
        """Read what :meth:`to_dict` wrote; anything else is refused.

        Raises:
            ModelError: not a mapping, a key is unknown or missing, a value is of the wrong type or out of range,
                or a constant (colour order, scale, layout, interpolation) is not the one vedette computes with.
        """
        if not isinstance(values, Mapping):
            raise ModelError("must be a mapping of names to values", where="letterbox")
        pictures = PictureFormat.from_dict(values[_FORMAT_KEY]) if _FORMAT_KEY in values else RGB8
        known = cls(picture_format=pictures).to_dict()
        for key in values:
            if key not in known:
                raise ModelError(
                    f"unknown key {key!r:.80}", where="letterbox", fix=nearest(str(key)[:80], known)
                )
        for key in known:
            if key not in values:
                raise ModelError("is missing", where=_field(key))
        for key, expected in _constants(pictures).items():
            if type(values[key]) is not type(expected) or values[key] != expected:
                raise ModelError(f"is {values[key]!r:.80}, only {expected!r} is supported", where=_field(key))
        size_hw = values["size_hw"]
        return cls(
            size_hw=tuple(size_hw) if isinstance(size_hw, list) else size_hw,
            stride=values["stride"],
            shape=values["shape"],
            scale_up=values["scale_up"],
            pad_value=values["pad_value"],
            picture_format=pictures,
        )


def round_up_to_stride(side: int, stride: int) -> int:
    """The next multiple of ``stride`` that is at least ``side``."""
    return -(-side // stride) * stride


def shared_frame_hw(sources_hw: Iterable[SizeHW], long_side: int, stride: int) -> SizeHW:
    """The smallest frame that holds pictures of these sizes, each scaled to ``long_side``.

    inference.md, section 8: sides scaled by long_side / longer side, largest of all, raised to multiples of the
    stride. Computed in whole numbers, so that a side of exactly one multiple is never raised to the next.

    Raises:
        ModelError: there is no picture, or one without pixels.
    """
    frame_h = frame_w = 0
    for source_hw in sources_hw:
        height, width = _checked_size(source_hw)
        longer = max(height, width) * stride
        frame_h = max(frame_h, -(-height * long_side // longer) * stride)
        frame_w = max(frame_w, -(-width * long_side // longer) * stride)
    if frame_h == 0:
        raise ModelError("no picture to make a frame for")
    return frame_h, frame_w


def rescale_boxes_yolov5(boxes_xyxy_px: BoxesT, frame_hw: SizeHW, source_hw: SizeHW) -> BoxesT:
    """Boxes of a frame as clipped boxes of the picture by the published rule (inference.md, section 2).

    It reconstructs scale and fractional padding from the two sizes and so ignores the rounding of the letterbox,
    up to half a pixel of the frame; for comparing with published numbers. Elsewhere use
    :meth:`Letterbox.boxes_to_source`.
    """
    gain = min(frame_hw[0] / source_hw[0], frame_hw[1] / source_hw[1])
    pad_x = (frame_hw[1] - source_hw[1] * gain) / 2
    pad_y = (frame_hw[0] - source_hw[0] * gain) / 2
    unpadded = _scale_and_shift(boxes_xyxy_px, (1.0, 1.0), (-pad_x, -pad_y))
    return clip_boxes(unpadded / gain, source_hw)


def _scale_and_shift(
    boxes_xyxy: BoxesT, scale_xy: tuple[float, float], shift_xy: tuple[float, float]
) -> BoxesT:
    if isinstance(boxes_xyxy, np.ndarray):
        dtype = boxes_xyxy.dtype if boxes_xyxy.dtype.kind == "f" else np.dtype(np.float64)
        moved: NDArray[Any] = boxes_xyxy * np.array(scale_xy * 2, dtype) + np.array(shift_xy * 2, dtype)
        return moved
    boxes = boxes_xyxy if boxes_xyxy.is_floating_point() else boxes_xyxy.float()
    return boxes * boxes.new_tensor(scale_xy * 2) + boxes.new_tensor(shift_xy * 2)


def _constants(pictures: PictureFormat) -> dict[str, Any]:
    if pictures == RGB8:
        return _CONSTANTS
    low, high = pictures.value_range
    order = "rgb" if pictures.channels == 3 else "as-in-file"
    return {**_CONSTANTS, "colour_order": order, "scale": 1 / (high - low)}


def _check_picture(image: Image, size_hw: SizeHW, pictures: PictureFormat, what: str) -> None:
    if image.dtype != pictures.dtype or image.shape != (*size_hw, pictures.channels):
        expected = f"{pictures.dtype} {[*size_hw, pictures.channels]}"
        raise ModelError(f"the {what} is {image.dtype} {list(image.shape)}, expected {expected}")


def _checked_size(source_hw: SizeHW) -> SizeHW:
    height, width = int(source_hw[0]), int(source_hw[1])
    if height < 1 or width < 1:
        raise ModelError(f"a picture of {height}x{width} pixels has no content")
    return height, width


def _check_whole(name: str, value: object, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise ModelError(
            f"must be a whole number from {low} to {high}", where=_field(name), fix=f"got {value!r:.80}"
        )


def _field(name: str) -> str:
    return f"letterbox.{name}"
