"""What to run on: what the user named becomes pictures, videos and streams to read.

Order, suffixes and kinds: specification ``inference.md`` section 5. An existing path comes first, so that a
folder called ``2024`` is a folder and a file called ``a[1].jpg`` is a file.
"""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vedette.core.picture_format import RGB8, PictureFormat
from vedette.core.types import Image
from vedette.data.images import ImageLimits, decode_image, read_image
from vedette.errors import DataError, ImageError, UsageError
from vedette.infer.addresses import SCHEMES, file_name, is_address, scheme_of, shown, stream_name, suffix_of
from vedette.infer.fetch import fetch, media_type
from vedette.infer.video.reader import VideoItem
from vedette.infer.video.screen import parse_screen

PICTURE_SUFFIXES = frozenset(
    {".bmp", ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".dng", ".webp", ".mpo"},
)
VIDEO_SUFFIXES = frozenset(
    {
        ".mov", ".avi", ".mp4", ".mpg", ".mpeg", ".m4v", ".wmv", ".mkv", ".webm", ".asf", ".flv", ".gif", ".ogv",
        ".ts", ".m2ts", ".mts", ".3gp",
    }
)  # fmt: skip
ARRAY_SUFFIX = ".npy"
"""Of pictures for detectors of another picture format; beside 8-bit RGB they are mostly caches of other programs."""
LIST_SUFFIXES = frozenset({".txt", ".streams"})
MAX_LIST_BYTES = 256_000_000

_VIDEO_TYPES = frozenset(
    {"video/mp4", "video/webm", "video/quicktime", "video/x-matroska", "video/x-msvideo", "video/mpeg"}
)
"""What servers call files with an end; of a live stream they say something else."""

_SUPPORTED = (
    "give a picture, a video, a folder, a glob such as 'shots/**/*.jpg', a .txt list, an address (rtsp, rtmp, http, "
    "https), the number of a camera, or screen"
)


@dataclass(frozen=True, slots=True)
class SourceItem:
    """One picture: a file or address to read, or the place of one that came out of a video or stream.

    Attributes:
        path: the path of its source as the user gave it, with forward slashes and without passwords; what result
            files hold.
        file: the file; of an address and of a stream only a name, by which results are called.
        address: where to fetch it instead.
        frame_index: its number from 0 in its video or stream; None: it is a picture of its own.
        time_ms: its time in the video; in a stream, since the run began reading.
        live: it came from a stream.
    """

    path: str
    file: Path
    address: str = ""
    frame_index: int | None = None
    time_ms: float | None = None
    live: bool = False

    def load(self, limits: ImageLimits | None = None, picture_format: PictureFormat = RGB8) -> Image:
        """Read the picture, upright, RGB uint8 [H, W, 3] or of another picture format. Raises ImageError."""
        if self.address:
            raw = fetch(self.address, (limits or ImageLimits()).file_bytes(picture_format))
            return decode_image(raw, where=self.path, limits=limits, picture_format=picture_format)
        if self.file.exists() and not self.file.is_file():  # opening a pipe would wait for ever
            raise ImageError("is no regular file", where=self.file, kind="unreadable")
        return read_image(self.file, limits=limits, picture_format=picture_format)


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something in a source that is not read, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Source:
    """What is read, in this order: all pictures, all videos one after the other, all streams together.

    ``arrays`` are files that are pictures for some detectors only; ``open_source`` leaves none.
    """

    items: tuple[SourceItem, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    videos: tuple[VideoItem, ...] = ()
    streams: tuple[VideoItem, ...] = ()
    arrays: tuple[SourceItem, ...] = ()

    def with_more(self, other: Source) -> Source:
        """Both, this one first in each kind."""
        return Source(
            self.items + other.items,
            self.skipped + other.skipped,
            self.videos + other.videos,
            self.streams + other.streams,
            self.arrays + other.arrays,
        )

    def with_arrays(self, read: bool) -> Source:
        """The same without ``arrays``: they come after the pictures, or are skipped."""
        if read:
            return replace(self, items=self.items + self.arrays, arrays=())
        left_out = tuple(Skipped(item.path, _unknown_suffix(ARRAY_SUFFIX)) for item in self.arrays)
        return replace(self, skipped=self.skipped + left_out, arrays=())

    def __bool__(self) -> bool:
        return bool(self.items or self.videos or self.streams)


Named = str | Path | Sequence[str | Path]
"""One source, or several."""


def open_source(source: Named, *, arrays: bool = False) -> Source:
    """List what one source holds, or several in the order given.

    Nothing is opened but lists and folders; a server is asked once where an http address does not say what it is.
    ``arrays``: ``.npy`` files in folders and lists are pictures too.

    Raises:
        UsageError: an address, camera or screen that is not understood.
        DataError: nothing is there, a list cannot be read, or nothing readable is among what is there.
    """
    return settle_arrays(list_source(source), source, arrays=arrays)


def list_source(source: Named) -> Source:
    """As :func:`open_source`, before it is known whether ``arrays`` are pictures, and with possibly nothing at all."""
    found = Source()
    for part in _parts(source):
        found = found.with_more(_resolve(str(part)))
    return replace(found, streams=_distinct(found.streams))


def settle_arrays(listed: Source, source: Named, *, arrays: bool) -> Source:
    """The second half of :func:`open_source`: what was listed, now that it is known. Raises DataError."""
    found = listed.with_arrays(arrays)
    if not found:
        raise _nothing_found(_parts(source), found.skipped)
    return found


def _parts(source: Named) -> list[str | Path]:
    return [source] if isinstance(source, (str, Path)) else list(source)


def _distinct(streams: Iterable[VideoItem]) -> tuple[VideoItem, ...]:
    """Streams whose paths differ: their results come mixed, and are told apart by them."""
    seen: Counter[str] = Counter()
    named = []
    for item in streams:
        seen[item.path] += 1
        number = seen[item.path]
        named.append(item if number == 1 else replace(item, path=f"{item.path}#{number}"))
    return tuple(named)


def iterate(source: str | Path | Sequence[str | Path]) -> Iterator[SourceItem]:
    """The pictures of ``open_source``, one by one."""
    yield from open_source(source).items


def _resolve(text: str) -> Source:
    if not text.strip():
        raise UsageError("is empty", where="--source", fix=_SUPPORTED)
    if is_address(text):
        return _address(text, f"--source {shown(text)}")
    path = Path(text)
    if path.is_dir():
        return _folder(path)
    if path.exists():
        return _list_file(path) if path.suffix.lower() in LIST_SUFFIXES else _single_file(path)
    device = _device(text)
    if device:
        return device
    if glob.has_magic(text):
        names = glob.glob(text, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
        return _sort_out(Path(name) for name in sorted(names) if not Path(name).is_dir())
    raise DataError("does not exist", where=text, fix=_SUPPORTED)


def _device(text: str) -> Source:
    """A camera or screen; nothing if the text names neither. Raises UsageError."""
    if text.isascii() and text.isdecimal() and len(text) < 6:
        number = int(text)
        return Source(streams=(VideoItem(str(number), Path(f"camera{number}"), str(number), "camera"),))
    if text.split()[:1] == ["screen"]:
        parse_screen(text)
        return Source(streams=(VideoItem(text, Path("_".join(text.split())), text, "screen"),))
    return Source()


def _address(text: str, where: str) -> Source:
    """A picture, video or stream behind an address, by what its path ends with or its server says."""
    scheme = scheme_of(text)
    if scheme not in SCHEMES:
        raise UsageError(f"addresses that begin with {scheme}:// are not read", where=where, fix=_SUPPORTED)
    path, suffix = shown(text), suffix_of(text)
    if scheme in ("http", "https"):
        known = suffix in PICTURE_SUFFIXES | VIDEO_SUFFIXES
        kind = "" if known else media_type(text)
        if suffix in PICTURE_SUFFIXES or kind.startswith("image/"):
            return Source(items=(SourceItem(path, Path(file_name(text)), address=text),))
        if suffix in VIDEO_SUFFIXES or kind in _VIDEO_TYPES:
            return Source(videos=(VideoItem(path, Path(file_name(text)), text),))
    return Source(streams=(VideoItem(path, Path(stream_name(text)), text, "stream"),))


def _single_file(path: Path) -> Source:
    """A file that was named outright is tried by its content, whatever its suffix, unless it is that of a video."""
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return Source(videos=(_video(path),))
    return Source(items=(SourceItem(path.as_posix(), path),))


def _video(path: Path) -> VideoItem:
    return VideoItem(path.as_posix(), path, str(path))


def _folder(folder: Path) -> Source:
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise DataError(f"cannot be listed ({error.strerror})", where=folder) from None
    return _sort_out(folder / name for name in names)


def _list_file(path: Path) -> Source:
    try:
        if path.stat().st_size > MAX_LIST_BYTES:
            raise DataError(f"is longer than {MAX_LIST_BYTES} bytes", where=path, fix="split the list")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        text = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise DataError(f"the list cannot be read ({text})", where=path) from None
    others = Source()
    paths: list[Path] = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if "\0" in text:
            raise UsageError("is no path", where=f"{path}:{number}", fix=_SUPPORTED)
        if is_address(text):
            others = others.with_more(_address(text, f"{path}:{number}"))
        elif text:
            entry = _entry(path.parent, text)
            device = Source() if entry.exists() else _device(text)
            others = others.with_more(device)
            paths += [] if device else [entry]
    return _sort_out(paths).with_more(others)


def _entry(folder: Path, text: str) -> Path:
    """The path of a line of a list: relative to the list's folder, else to the current one."""
    forward = text.replace("\\", "/")
    candidates = (folder / text, Path(text), folder / forward, Path(forward))
    return next((path for path in candidates if path.exists()), candidates[0])


def _sort_out(paths: Iterable[Path]) -> Source:
    """Pictures and videos by their suffix; everything else is listed with the reason why it is left out."""
    items: list[SourceItem] = []
    skipped: list[Skipped] = []
    videos: list[VideoItem] = []
    arrays: list[SourceItem] = []
    for path in paths:
        reason = _reason_to_skip(path)
        if reason:
            skipped.append(Skipped(path.as_posix(), reason))
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            videos.append(_video(path))
        else:
            kind = arrays if path.suffix.lower() == ARRAY_SUFFIX else items
            kind.append(SourceItem(path.as_posix(), path))
    return Source(tuple(items), tuple(skipped), tuple(videos), arrays=tuple(arrays))


def _reason_to_skip(path: Path) -> str:
    suffix = path.suffix.lower()
    if path.name.startswith("."):
        return "hidden file"
    if path.is_dir():
        return "folder; folders are not entered, a glob with ** does"
    if suffix not in PICTURE_SUFFIXES | VIDEO_SUFFIXES | {ARRAY_SUFFIX}:
        return _unknown_suffix(suffix) if suffix else "no suffix"
    if path.exists() and not path.is_file():
        return "no regular file"
    return ""


def _unknown_suffix(suffix: str) -> str:
    return f"suffix {suffix} is not that of a picture or video"


def _nothing_found(parts: Sequence[str | Path], skipped: Sequence[Skipped]) -> DataError:
    where = ", ".join(shown(str(part)) for part in parts) or "--source"
    if not skipped:
        return DataError("there is no picture and no video", where=where, fix=_SUPPORTED)
    first = skipped[0]
    return DataError(
        f"there is no picture and no video among {len(skipped)} entries "
        f"(the first, {Path(first.path).name}: {first.reason})",
        where=where,
        fix=_SUPPORTED,
    )
