"""What to run on: a file, a folder, a glob or a list file becomes a list of pictures to read.

Order, suffixes and kinds: specification ``inference.md`` section 5. An existing path comes first, so that a
folder called ``2024`` is a folder and a file called ``a[1].jpg`` is a file.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vedette.core.types import Image
from vedette.data.images import ImageLimits, read_image
from vedette.errors import DataError, ImageError, UsageError

PICTURE_SUFFIXES = frozenset(
    {".bmp", ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".dng", ".webp", ".mpo"},
)
VIDEO_SUFFIXES = frozenset({".mov", ".avi", ".mp4", ".mpg", ".mpeg", ".m4v", ".wmv", ".mkv", ".webm"})
MAX_LIST_BYTES = 256_000_000

_SUPPORTED = "give a picture, a folder, a glob such as 'shots/**/*.jpg' or a .txt list of paths"
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SourceItem:
    """One picture to read.

    Attributes:
        path: its path as the user gave it, with forward slashes; what result files hold.
        file: the file to open.
    """

    path: str
    file: Path

    def load(self, limits: ImageLimits | None = None) -> Image:
        """Read the picture, upright, RGB uint8 [H, W, 3]. Raises ImageError."""
        if self.file.exists() and not self.file.is_file():  # opening a pipe would wait for ever
            raise ImageError("is no regular file", where=self.file, kind="unreadable")
        return read_image(self.file, limits=limits)


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something in a source that is not read, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Source:
    """The pictures of a source in the order they are read, and what else was there."""

    items: tuple[SourceItem, ...]
    skipped: tuple[Skipped, ...]


def open_source(source: str | Path | Sequence[str | Path]) -> Source:
    """List the pictures of one source, or of several in the order given.

    Raises:
        UsageError: a camera, stream, address or video, which are not read yet; or an empty list.
        DataError: nothing is there, a list cannot be read, or no picture is among what is there.
    """
    parts = [source] if isinstance(source, (str, Path)) else list(source)
    found: list[SourceItem] = []
    skipped: list[Skipped] = []
    for part in parts:
        listing = _resolve(str(part))
        found.extend(listing.items)
        skipped.extend(listing.skipped)
    if not found:
        raise _nothing_found(parts, skipped)
    return Source(tuple(found), tuple(skipped))


def iterate(source: str | Path | Sequence[str | Path]) -> Iterator[SourceItem]:
    """The pictures of ``open_source``, one by one."""
    yield from open_source(source).items


def _resolve(text: str) -> Source:
    if not text.strip():
        raise UsageError("is empty", where="--source", fix=_SUPPORTED)
    if _URL.match(text):
        raise UsageError("streams and addresses are not read yet", where=f"--source {text}", fix=_SUPPORTED)
    path = Path(text)
    if path.is_dir():
        return _folder(path)
    if path.exists():
        return _list_file(path) if path.suffix.lower() == ".txt" else _single_file(path)
    if text.isdecimal():
        raise UsageError("cameras are not read yet", where=f"--source {text}", fix=_SUPPORTED)
    if glob.has_magic(text):
        names = glob.glob(text, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
        return _sort_out(Path(name) for name in sorted(names) if not Path(name).is_dir())
    raise DataError("does not exist", where=text, fix=_SUPPORTED)


def _single_file(path: Path) -> Source:
    """A file that was named outright is tried by its content, whatever its suffix, unless it is a video."""
    if path.suffix.lower() in VIDEO_SUFFIXES:
        raise UsageError("videos are not read yet", where=path, fix=_SUPPORTED)
    return Source((SourceItem(path.as_posix(), path),), ())


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
    return _sort_out(_list_entries(path.parent, lines, path))


def _list_entries(folder: Path, lines: Iterable[str], where: Path) -> Iterator[Path]:
    """Entries of a list: relative to the list's folder, else to the current one; blank lines are none."""
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if _URL.match(text) or "\0" in text:
            raise UsageError(
                "streams and addresses are not read yet",
                where=f"{where}:{number}",
                fix="list paths of pictures",
            )
        if text:
            forward = text.replace("\\", "/")
            candidates = (folder / text, Path(text), folder / forward, Path(forward))
            yield next((path for path in candidates if path.exists()), candidates[0])


def _sort_out(paths: Iterable[Path]) -> Source:
    """Pictures by their suffix; everything else is listed with the reason why it is left out."""
    items: list[SourceItem] = []
    skipped: list[Skipped] = []
    for path in paths:
        reason = _reason_to_skip(path)
        if reason:
            skipped.append(Skipped(path.as_posix(), reason))
        else:
            items.append(SourceItem(path.as_posix(), path))
    return Source(tuple(items), tuple(skipped))


def _reason_to_skip(path: Path) -> str:
    suffix = path.suffix.lower()
    if path.name.startswith("."):
        return "hidden file"
    if path.is_dir():
        return "folder; folders are not entered, a glob with ** does"
    if suffix in VIDEO_SUFFIXES:
        return "video; videos are not read yet"
    if suffix not in PICTURE_SUFFIXES:
        return f"suffix {suffix} is not that of a picture" if suffix else "no suffix"
    if path.exists() and not path.is_file():
        return "no regular file"
    return ""


def _nothing_found(parts: Sequence[str | Path], skipped: Sequence[Skipped]) -> DataError:
    where = ", ".join(str(part) for part in parts) or "--source"
    if not skipped:
        return DataError("there is no picture", where=where, fix=_SUPPORTED)
    first = skipped[0]
    return DataError(
        f"there is no picture among {len(skipped)} entries (the first, {Path(first.path).name}: {first.reason})",
        where=where,
        fix=_SUPPORTED,
    )
