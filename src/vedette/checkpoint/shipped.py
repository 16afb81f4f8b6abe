"""Weights that come with the package, by name. Each has a model card of the same name beside it."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "weights"
"""Inside the package, so that an installed one has them too."""

DEFAULT = "yolov5n-voc"
"""What finds things when nobody says with what: people, animals, vehicles and furniture, 20 classes."""


def shipped_names() -> tuple[str, ...]:
    """The names that ``--weights`` takes besides files."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.safetensors")))


def shipped_file(name: str) -> Path | None:
    """The file of shipped weights, or None if there are none of this name."""
    return FOLDER / f"{name}.safetensors" if name in shipped_names() else None
