"""Label formats: one file each, one protocol. Labels are read where they lie; nothing is converted on disk.

Each format has two functions. ``gather`` finds the files of a split and reads them, so that their content can be
compared with that of a cached index; ``parse`` turns them into rows and a list of faults. Rows go on as the format
states them; what holds for boxes of every format is checked in :mod:`vedette.data.box_checks`.

A new format is a new file here and a line in ``_READERS``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from vedette.data.description import DOWNLOAD_REFUSED
from vedette.data.formats import coco, csv, voc, yolo
from vedette.data.formats.records import RawSplit, SplitFiles
from vedette.errors import DataError

if TYPE_CHECKING:
    from vedette.data.description import DatasetDescription, SplitSource

Gather = Callable[["DatasetDescription", "SplitSource"], SplitFiles]
Parse = Callable[["DatasetDescription", SplitFiles], RawSplit]

_READERS: dict[str, tuple[Gather, Parse]] = {
    "yolo": (yolo.gather, yolo.parse),
    "coco": (coco.gather, coco.parse),
    "voc": (voc.gather, voc.parse),
    "csv": (csv.gather, csv.parse),
}


def gather_split(description: DatasetDescription, split: str) -> SplitFiles:
    """Find and read the label files of a split.

    Raises:
        DataError: there is no such split, or a folder or file that the description names is not there.
    """
    source = description.source(split)
    try:
        files = _READERS[description.format][0](description, source)
        return replace(files, labelled=source.labelled.read())
    except DataError as error:
        if description.names_download:
            error.fix = f"{error.fix}; {DOWNLOAD_REFUSED}"
        raise


def parse_split(description: DatasetDescription, files: SplitFiles) -> RawSplit:
    """Rows and faults of files that ``gather_split`` returned."""
    return _READERS[description.format][1](description, files)


def read_split(description: DatasetDescription, split: str) -> RawSplit:
    """Rows and faults of a split. Raises DataError as ``gather_split`` does."""
    return parse_split(description, gather_split(description, split))
