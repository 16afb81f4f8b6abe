"""What a reader of moving pictures is, and which one reads what.

PyAV (the extra ``video``) reads the presentation time of each picture as the container has it. OpenCV, which is
always there, reports times too; they were exact for every container tried, but it does not promise them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from vedette.core.types import Image
from vedette.errors import DataError

MAX_PIXELS = 50_000_000
"""Of one picture, as for picture files."""

Decoder = Literal["pyav", "opencv"]
VideoKind = Literal["video", "stream", "camera", "screen"]


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """One picture of a video or stream.

    Attributes:
        image: RGB uint8 [H, W, 3], upright.
        index: its number from 0, among all pictures of the source, those left out by a stride too.
        time_ms: when it is shown, in milliseconds from the start of the video; of a stream, when it arrived.
    """

    image: Image
    index: int
    time_ms: float


class VideoReader(Protocol):
    """An opened source. One thread at a time may use it."""

    @property
    def frame_rate(self) -> float | None:
        """Pictures a second on average, if the source says so."""
        ...

    @property
    def finite(self) -> bool:
        """Whether the source says how long it is; a stream that comes from a camera cannot."""
        ...

    def frames(self, stride: int = 1) -> Iterator[VideoFrame]:
        """Every ``stride``-th picture from the first, in the order of time.

        Raises:
            DataError: after the last picture, if there should have been more, or some were damaged.
        """
        ...

    def close(self) -> None:
        """Give the source back."""
        ...


@dataclass(frozen=True, slots=True)
class VideoItem:
    """A video or stream to read.

    Attributes:
        path: as the user gave it, with forward slashes and without passwords; what result files hold.
        file: the file, or for an address a name; results are called by it.
        address: what to open: a path, an address, the number of a camera, or ``screen`` with its numbers.
        kind: "video": has an end, and is read to it, every picture. The others are live: read while it happens.
    """

    path: str
    file: Path
    address: str
    kind: VideoKind = "video"

    @property
    def live(self) -> bool:
        """Whether pictures come when they like, so that who is slow misses some."""
        return self.kind != "video"


def pyav_is_installed() -> bool:
    """Whether exact presentation times can be had."""
    return importlib.util.find_spec("av") is not None


def open_video(item: VideoItem, *, timeout_s: float = 5.0, decoder: Decoder | None = None) -> VideoReader:
    """Open a video or stream.

    Args:
        item: what to open.
        timeout_s: an address that is silent for so long counts as lost.
        decoder: None: PyAV where it is installed, else OpenCV. Cameras are always read by OpenCV.

    Raises:
        DataError: there is nothing, or nothing that can be decoded.
        MissingExtraError: the screen cannot be read without the extra.
    """
    if item.kind == "screen":
        from vedette.infer.video.screen import ScreenReader

        return ScreenReader(item.address)
    if item.kind == "video" and item.address == str(item.file):
        check_signature(item.file, item.path)
    if item.kind == "camera" or (decoder or ("pyav" if pyav_is_installed() else "opencv")) == "opencv":
        from vedette.infer.video.opencv import OpenCvReader

        return OpenCvReader(item, timeout_s)
    from vedette.infer.video.pyav import PyAvReader

    return PyAvReader(item, timeout_s)


_SIGNATURES = {
    0: (b"\x1aE\xdf\xa3", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"FLV", b"OggS", b"GIF8", b"\x00\x00\x01"),
    4: (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"),
    8: (b"AVI ",),
}
"""Where a container of videos has which bytes: Matroska, ASF, Flash, Ogg, GIF, MPEG; ISO and QuickTime; AVI."""

_TRANSPORT_STREAM = ((0, 188), (4, 192))
"""Where MPEG transport streams have their sync byte, and at which distance again."""


def check_signature(file: Path, where: str) -> None:
    """Refuse files that are no video, whatever their name says.

    Decoders recognise more than containers, among them lists of other files and addresses to open. Raises DataError.
    """
    if file.exists() and not file.is_file():  # opening a pipe would wait for ever
        raise DataError("is no regular file", where=where)
    try:
        with file.open("rb") as stream:
            start = stream.read(512)
    except FileNotFoundError:
        raise DataError("there is no such file", where=where) from None
    except OSError as error:
        raise DataError(f"cannot be opened ({error.strerror or error})", where=where) from None
    if not start:
        raise DataError("the file is empty", where=where)
    known = any(start[offset:].startswith(signatures) for offset, signatures in _SIGNATURES.items()) or any(
        start[offset : offset + distance + 1 : distance] == b"GG" for offset, distance in _TRANSPORT_STREAM
    )
    if not known:
        raise DataError(
            "is not a video, whatever its name says",
            where=where,
            fix="give MP4, MOV, Matroska, WebM, AVI, MPEG, ASF, FLV, Ogg or GIF",
        )
