"""What a hub model found, under the names that scripts know (inference.md, section 9)."""

from __future__ import annotations

import copy
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image as Pillow
from torch import Tensor

from vedette.config.run_folder import create_run_folder
from vedette.core.boxes import xyxy_to_cxcywh
from vedette.core.printable import printable
from vedette.core.types import Detections, Image
from vedette.errors import MissingExtraError, WriteError
from vedette.infer.draw import DrawStyle, draw_detections
from vedette.infer.picture_writers import folder_name
from vedette.infer.writers import OutputNames

_CORNER_COLUMNS = ["xmin", "ymin", "xmax", "ymax", "confidence", "class", "name"]
_CENTRE_COLUMNS = ["xcenter", "ycenter", "width", "height", "confidence", "class", "name"]
_TABLES = {
    "xyxy": _CORNER_COLUMNS,
    "xyxyn": _CORNER_COLUMNS,
    "xywh": _CENTRE_COLUMNS,
    "xywhn": _CENTRE_COLUMNS,
}


class StageTimes(NamedTuple):
    """Seconds for all pictures together."""

    preprocess: float
    inference: float
    postprocess: float


class Results:
    """Boxes of some pictures.

    Args:
        ims: pictures, RGB uint8 [H, W, 3].
        pred: one float32 [n, 6] a picture: x1, y1, x2, y2 in its pixels, score, class; best first.
        files: names of the pictures.
        times: seconds by stage.
        names: class id to name.
        shape: (B, channels, H, W) that the network saw.

    Attributes:
        ims: the pictures; ``imgs`` is the same list.
        pred: see above; ``xyxy`` is the same list.
        xywh: centre and size in pixels, score, class.
        xyxyn: corners in 0..1 of the picture, score, class.
        xywhn: centre and size in 0..1, score, class.
        names: class id to name.
        files: names of the pictures, with the suffix ``.jpg``.
        n: number of pictures.
        t: milliseconds a picture: reading and letterbox, network, suppression.
        times: seconds in all, by stage.
        s: shape that the network saw.
    """

    def __init__(
        self,
        ims: Sequence[Image],
        pred: Sequence[Tensor],
        files: Sequence[str],
        times: StageTimes,
        names: Mapping[int, str],
        shape: tuple[int, ...],
    ) -> None:
        self.ims = self.imgs = list(ims)
        self.pred = list(pred)
        self.names = dict(names)
        self.files = [Path(name).with_suffix(".jpg").name for name in files]
        self.times = times
        self.s = tuple(shape)
        self.n = len(self.pred)
        self.t = tuple(1000 * seconds / max(self.n, 1) for seconds in times)
        self.xyxy: list[Any] = self.pred
        self.xywh: list[Any] = [_centred(rows) for rows in self.pred]
        self.xyxyn: list[Any] = [_relative(rows, im) for rows, im in zip(self.pred, self.ims, strict=True)]
        self.xywhn: list[Any] = [_relative(rows, im) for rows, im in zip(self.xywh, self.ims, strict=True)]

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, number: int) -> Results:
        """The results of one picture."""
        return self.tolist()[number]

    def __iter__(self) -> Iterator[Results]:
        return iter(self.tolist())

    def __str__(self) -> str:
        lines = [
            f"image {number}/{self.n}: {im.shape[0]}x{im.shape[1]} {self._counted(rows)}"
            for number, (im, rows) in enumerate(zip(self.ims, self.pred, strict=True), start=1)
        ]
        before, network, after = self.t
        lines.append(
            f"Speed: {before:.1f}ms pre-process, {network:.1f}ms inference, {after:.1f}ms NMS per image "
            f"at shape {self.s}"
        )
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<vedette hub results of {self.n} pictures>\n{self}"

    def tolist(self) -> list[Results]:
        """One value a picture; every attribute stays a list, of one entry."""
        shares = StageTimes(*(seconds / max(self.n, 1) for seconds in self.times))
        shape = (1, *self.s[1:])
        return [
            Results([im], [rows], [name], shares, self.names, shape)
            for im, rows, name in zip(self.ims, self.pred, self.files, strict=True)
        ]

    def detections(self) -> list[Detections]:
        """The same as vedette's own values, one a picture."""
        names = tuple(self.names[number] for number in range(len(self.names)))
        return [
            Detections(
                boxes_xyxy_px=rows[:, :4].cpu().numpy(),
                scores=rows[:, 4].cpu().numpy(),
                class_ids=rows[:, 5].to(torch.int64).cpu().numpy(),
                class_names=names,
                size_hw=(im.shape[0], im.shape[1]),
                path=name,
            )
            for im, rows, name in zip(self.ims, self.pred, self.files, strict=True)
        ]

    def pandas(self) -> Results:
        """A copy whose ``xyxy``, ``xyxyn``, ``xywh`` and ``xywhn`` are lists of pandas tables, one a picture.

        Columns: xmin, ymin, xmax, ymax (or xcenter, ycenter, width, height), confidence, class, name.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            from pandas import DataFrame
        except ImportError:
            raise MissingExtraError("pandas", "pandas", "results as tables") from None
        tables = copy.copy(self)
        for attribute, columns in _TABLES.items():
            rows = [
                [[*row[:5], int(row[5]), self.names[int(row[5])]] for row in found.tolist()]
                for found in getattr(self, attribute)
            ]
            setattr(tables, attribute, [DataFrame(found, columns=columns) for found in rows])
        return tables

    def print(self) -> None:
        """Write ``str(results)`` to standard output."""
        sys.stdout.write(f"{self}\n")

    def render(self, labels: bool = True) -> list[Image]:
        """Draw the boxes into the pictures and return them; ``ims`` holds them from now on."""
        style = DrawStyle(labels=labels)
        drawn: list[Image] = [
            draw_detections(im, found, style) for im, found in zip(self.ims, self.detections(), strict=True)
        ]
        self.ims = self.imgs = drawn
        return drawn

    def show(self, labels: bool = True) -> None:
        """Open each picture with its boxes in the system's viewer."""
        for im in copy.copy(self).render(labels):
            Pillow.fromarray(im).show()

    def save(
        self, labels: bool = True, save_dir: str | Path = "runs/detect/exp", exist_ok: bool = False
    ) -> Path:
        """Write each picture with its boxes as a JPEG; returns the folder.

        Args:
            labels: with names and scores.
            save_dir: the folder; a number is added if it exists.
            exist_ok: use it even if it exists.

        Raises:
            WriteError: the folder or a picture cannot be written.
        """
        folder = _folder(save_dir, exist_ok)
        names = OutputNames()
        for im, name in zip(copy.copy(self).render(labels), self.files, strict=True):
            _write_jpeg(folder / names.take(Path(name).stem, ".jpg"), im)
        return folder

    def crop(
        self, save: bool = True, save_dir: str | Path = "runs/detect/exp", exist_ok: bool = False
    ) -> list[dict[str, Any]]:
        """What is inside each box, of all pictures.

        Args:
            save: also write ``save_dir/crops/<class name>/<picture>.jpg``.
            save_dir: the folder; a number is added if it exists.
            exist_ok: use it even if it exists.

        Returns:
            One dict a box: ``box`` (float tensor [4], corners), ``conf`` and ``cls`` (float tensors [ ]), ``label``
            ("name 0.87"), ``im`` (RGB uint8, the box widened to whole pixels).

        Raises:
            WriteError: the folder or a picture cannot be written.
        """
        folder = _folder(save_dir, exist_ok) / "crops" if save else None
        names: dict[str, OutputNames] = {}
        crops = []
        for im, rows, file in zip(self.ims, self.pred, self.files, strict=True):
            for row in rows:
                name = self.names[int(row[5])]
                part = _cut_out(im, row)
                crops.append(
                    {
                        "box": row[:4],
                        "conf": row[4],
                        "cls": row[5],
                        "label": f"{name} {float(row[4]):.2f}",
                        "im": part,
                    }
                )
                if folder is not None:
                    inside = folder / folder_name(name)
                    free = names.setdefault(inside.name, OutputNames())
                    _write_jpeg(inside / free.take(Path(file).stem, ".jpg"), part)
        return crops

    def _counted(self, rows: Tensor) -> str:
        """How many of each class, by class id: ``2 persons, 1 bus``."""
        counts = sorted(Counter(rows[:, 5].to(torch.int64).tolist()).items())
        text = ", ".join(
            f"{count} {printable(self.names[number])}{'s' if count > 1 else ''}" for number, count in counts
        )
        return text or "(no detections)"


def _centred(rows: Tensor) -> Tensor:
    return torch.cat((xyxy_to_cxcywh(rows[:, :4]), rows[:, 4:]), 1)


def _relative(rows: Tensor, im: Image) -> Tensor:
    height, width = im.shape[:2]
    return rows / rows.new_tensor([width, height, width, height, 1, 1])


def _cut_out(im: Image, row: Tensor) -> Image:
    low, high = row[:2].floor().to(torch.int64).tolist(), row[2:4].ceil().to(torch.int64).tolist()
    part: Image = im[low[1] : high[1], low[0] : high[0]].copy()
    return part


def _folder(save_dir: str | Path, exist_ok: bool) -> Path:
    path = Path(save_dir)
    return create_run_folder(path.parent, path.name, exist_ok)


def _write_jpeg(path: Path, im: Image) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(im).save(path, quality=95, subsampling=0)
    except OSError as error:
        raise WriteError(
            f"cannot be written ({error.strerror or error})", where=path, fix="give another save_dir"
        ) from error
