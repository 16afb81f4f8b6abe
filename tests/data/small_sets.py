"""Small data sets for the tests of this folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

from PIL import Image

YOLO_YAML = "train: images\nval: images\nnames: [cat, dog, bird]\n"


def write_picture(path: Path, *, width: int = 40, height: int = 30, orientation: int | None = None) -> Path:
    """A grey picture whose format follows its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", (width, height), (120, 130, 140))
    if orientation is None:
        picture.save(path)
    else:
        exif = Image.Exif()
        exif[0x0112] = orientation
        picture.save(path, exif=exif)
    return path


def write_text(path: Path, content: str | bytes) -> Path:
    """A file with exactly these bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_yolo(root: Path, labels: dict[str, str | bytes | None], yaml: str = YOLO_YAML) -> Path:
    """A YOLO data set: picture stem to label text; None writes no label file. Returns its description."""
    for stem, text in labels.items():
        write_picture(root / "images" / f"{stem}.png")
        if text is not None:
            write_text(root / "labels" / f"{stem}.txt", text)
    return write_text(root / "data.yaml", yaml)


def tree_hash(folder: Path) -> str:
    """SHA-256 over names, content and modification times of everything below a folder."""
    result = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        result.update(f"{path.relative_to(folder)}\0{path.stat().st_mtime_ns}\n".encode())
        if path.is_file():
            result.update(path.read_bytes())
    return result.hexdigest()
