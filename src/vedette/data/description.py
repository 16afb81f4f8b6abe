"""The description of a data set: a YAML file -> ``DatasetDescription``.

Two forms are read. The published one has ``train``, ``val``, ``test``, ``nc``, ``names`` and perhaps ``path``.
Ours adds ``format``; a split is then a mapping. ``docs`` of each format: :mod:`vedette.data.formats`.

    format: yolo                          # or left out: the published form
    path: ../datasets/cells               # root; relative to the folder of this file
    train: images/train                   # folder, list file, or a list of these
    val: images/val
    names: [red, white]

    format: coco
    path: ../datasets/coco
    val: {images: val2017, annotations: annotations/instances_val2017.json}

    format: voc
    train: {images: JPEGImages, annotations: Annotations, list: ImageSets/Main/train.txt}
    names: [RBC, WBC]

    format: csv
    train: {images: images, annotations: boxes.csv, list: train.txt}
    coordinates: voc1                     # 1-based inclusive pixels; the default of csv is `edges`
    names: [boat]

Any mapping may name ``backgrounds``: folders of pictures without objects; and, where not all classes are labelled in
all pictures, ``labelled`` and ``objectness``: see :mod:`vedette.data.labelled`. ``channels``, ``bits`` and
``value_range`` say what pictures are made of where that is not 8-bit RGB: see :mod:`vedette.data.picture_keys`.
Relative paths are taken from ``path``; where the YAML has no ``path``, from the folder of the YAML and then from the
working directory.

Nothing in a description is ever executed or downloaded; ``download`` is passed over with a note.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast

from vedette.config.base import read_yaml_mapping
from vedette.core.picture_format import RGB8, PictureFormat
from vedette.data.cache_folder import cache_folder
from vedette.data.labelled import ALL_LABELLED, LabelledRules, parse_labelled
from vedette.data.picture_keys import PICTURE_KEYS, parse_picture_format
from vedette.data.sources import PICTURE_SUFFIXES, SAMPLE_SUFFIXES
from vedette.errors import ConfigError, DataError, nearest

DATA_VARIABLE = "VEDETTE_DATA_DIR"
SHIPPED = ("bccd", "voc2007", "wind-turbines")
DOWNLOAD_REFUSED = "'download' is never executed: fetch the data set yourself"

LabelFormat = Literal["yolo", "coco", "voc", "csv"]
Coordinates = Literal["edges", "voc1"]

FORMATS: tuple[LabelFormat, ...] = ("yolo", "coco", "voc", "csv")
SPLITS = ("train", "val", "test")
MAX_NAME_LENGTH = 256

_KEYS = ("format", "path", *SPLITS, "nc", "names", "coordinates", *PICTURE_KEYS, "download", "roboflow")
_PASSED_OVER = ("download", "roboflow")
_ANY_FORMAT = ("backgrounds", "labelled", "objectness")
# Needed and optional keys of a split that is a mapping.
_SPLIT_KEYS: dict[LabelFormat, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "yolo": (("images",), _ANY_FORMAT),
    "coco": (("images", "annotations"), _ANY_FORMAT),
    "voc": (("images", "annotations"), ("list", *_ANY_FORMAT)),
    "csv": (("images", "annotations"), ("list", *_ANY_FORMAT)),
}


@dataclass(frozen=True, slots=True)
class SplitSource:
    """Where the pictures and labels of one split are; absolute paths, not yet looked at.

    Attributes:
        images: YOLO: folders and list files. Other formats: the one folder of the pictures.
        annotations: COCO: the JSON file; VOC: the folder of XML files; CSV: the CSV file; YOLO: None.
        list_file: VOC and CSV: the file that names the pictures of the split; None takes all.
        backgrounds: folders of pictures without objects.
        labelled: which classes are labelled in which pictures.
    """

    images: tuple[Path, ...]
    annotations: Path | None = None
    list_file: Path | None = None
    backgrounds: tuple[Path, ...] = ()
    labelled: LabelledRules = ALL_LABELLED


@dataclass(frozen=True, slots=True)
class DatasetDescription:
    """A data set, as its YAML describes it.

    Attributes:
        name: the shipped name, or the YAML's file name without suffix.
        argument: what to give ``load_description`` to get it again: the shipped name or the path.
        file: the YAML.
        format: one of ``FORMATS``.
        root: the folder against which relative paths were resolved first.
        class_names: by class id.
        category_ids: for each class id the category id that COCO results use: that of the COCO file, else the
            class id itself.
        splits: split name to source, for the splits that the YAML has.
        coordinates: ``edges``: a box is (left, top, right, bottom) edges, x1 = xmin. ``voc1``: 1-based inclusive
            pixels, x1 = xmin - 1. Only VOC and CSV use it.
        search_roots: folders against which relative paths are tried, in order.
        notes: what was passed over, one sentence each.
        names_download: whether the YAML says how to fetch the data set, which is never done.
        picture_format: what the pictures are made of.
    """

    name: str
    argument: str
    file: Path
    format: LabelFormat
    root: Path
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    splits: Mapping[str, SplitSource]
    coordinates: Coordinates = "edges"
    search_roots: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    names_download: bool = False
    picture_format: PictureFormat = RGB8

    def __reduce__(self) -> tuple[object, ...]:
        """Let the description cross a process border although its mapping is read-only."""
        values = {name: getattr(self, name) for name in self.__slots__}
        values["splits"] = dict(self.splits)
        return (_rebuild_description, (values,))

    @property
    def picture_suffixes(self) -> frozenset[str]:
        """Suffixes by which a file in a folder or list is taken for a picture."""
        return PICTURE_SUFFIXES if self.picture_format == RGB8 else SAMPLE_SUFFIXES

    def source(self, split: str) -> SplitSource:
        """The source of a split. Raises DataError if the description has no such split."""
        if split not in self.splits:
            raise DataError(
                f"has no split '{split}'; it has: {', '.join(self.splits)}",
                where=self.file,
                fix=f"add '{split}:' to the description or choose another split",
            )
        return self.splits[split]


def _rebuild_description(values: dict[str, Any]) -> DatasetDescription:
    return DatasetDescription(**{**values, "splits": MappingProxyType(values["splits"])})


def load_description(name_or_path: str | Path) -> DatasetDescription:
    """Read a data set description.

    Args:
        name_or_path: a YAML file, or the name of a shipped description (``SHIPPED``). The pictures of a shipped
            one are looked for below the folder in ``VEDETTE_DATA_DIR``, else in ``datasets`` of the cache folder.

    Raises:
        DataError: there is no such file or root folder, or the description makes no sense.
        ConfigError: the file is no readable YAML mapping, or has an unknown key.
    """
    if str(name_or_path) in SHIPPED:
        name = str(name_or_path)
        with resources.as_file(resources.files("vedette.data") / "descriptions" / f"{name}.yaml") as file:
            values = read_yaml_mapping(file)
            return _parse(values, file, name, (_shipped_root(name) / values.get("path", ""),))
    file = Path(name_or_path).absolute()
    if file.is_dir():
        raise DataError("is a folder", where=file, fix="name the YAML file that describes the data set")
    if not file.exists():
        raise DataError(
            "there is no such data set description",
            where=file,
            fix=f"give the path of a YAML file or a shipped name; {nearest(str(name_or_path), SHIPPED)}",
        )
    values = read_yaml_mapping(file)
    return _parse(values, file, str(file), _roots(values, file))


def _shipped_root(name: str) -> Path:
    folder = os.environ.get(DATA_VARIABLE)
    cache = cache_folder()
    if folder:
        root = Path(folder).absolute()
    elif cache is not None:
        root = cache / "datasets"
    else:
        raise DataError(
            f"{DATA_VARIABLE} is not set", where=name, fix=f"set it to the folder that holds '{name}'"
        )
    if not (root / name).is_dir():
        raise DataError(
            "the pictures of this data set are not there",
            where=root / name,
            fix=f"fetch them (the description only names them) and set {DATA_VARIABLE} to the folder that "
            f"holds '{name}'",
        )
    return root / name


def _roots(values: Mapping[str, Any], file: Path) -> tuple[Path, ...]:
    """Where relative paths are tried, in order."""
    if values.get("path") in (None, ""):
        return (file.parent, Path.cwd())
    root = _locate(_path_text(values["path"], f"{file}: path"), (file.parent, Path.cwd()))
    if not root.is_dir():
        fix = "correct 'path'; it is relative to the folder of the description"
        if values.get("download") is not None:
            fix += f"; {DOWNLOAD_REFUSED}"
        raise DataError("the data set's root folder ('path') is not there", where=root, fix=fix)
    return (root,)


def _parse(
    values: Mapping[str, Any], file: Path, argument: str, roots: tuple[Path, ...]
) -> DatasetDescription:
    for key in values:
        if key not in _KEYS:
            raise ConfigError("unknown key", where=f"{file}: {key}", fix=nearest(key, _KEYS))
    label_format = _choice(values.get("format", "yolo"), FORMATS, f"{file}: format")
    default = "voc1" if label_format == "voc" else "edges"
    coordinates = _choice(values.get("coordinates", default), ("edges", "voc1"), f"{file}: coordinates")
    splits = {
        split: _parse_split(values[split], cast("LabelFormat", label_format), roots, f"{file}: {split}")
        for split in SPLITS
        if values.get(split) is not None
    }
    if not splits:
        raise DataError("names no split", where=file, fix="add at least one of: train, val, test")
    class_names, category_ids = _classes(values, cast("LabelFormat", label_format), splits, file)
    for split, source in splits.items():
        if isinstance(values[split], dict):
            rules = parse_labelled(values[split], class_names, roots, f"{file}: {split}")
            splits[split] = replace(source, labelled=rules)
    return DatasetDescription(
        name=file.stem,
        argument=argument,
        file=file,
        format=cast("LabelFormat", label_format),
        root=roots[0],
        class_names=class_names,
        category_ids=category_ids,
        splits=MappingProxyType(splits),
        coordinates=cast("Coordinates", coordinates),
        search_roots=roots,
        notes=tuple(
            f"{file}: '{key}' is passed over: nothing in a description is executed or fetched"
            for key in _PASSED_OVER
            if values.get(key) is not None
        ),
        names_download=values.get("download") is not None,
        picture_format=parse_picture_format(values, file),
    )


def _choice(value: object, known: tuple[str, ...], where: str) -> str:
    if value in known:
        return str(value)
    raise ConfigError(f"unknown value {str(value)[:60]!r}", where=where, fix=nearest(str(value), known))


def _path_text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ConfigError(f"expected a path, got {str(value)[:60]!r}", where=where)
    return str(Path(value).expanduser())


def _locate(text: str, roots: tuple[Path, ...]) -> Path:
    """The first existing ``root / text``, else that of the first root; absolute and without ``..``."""
    candidates = [Path(os.path.normpath(root / text)) for root in roots]
    return next((candidate for candidate in candidates if candidate.exists()), candidates[0])


def _locate_all(value: object, roots: tuple[Path, ...], where: str) -> tuple[Path, ...]:
    entries = value if isinstance(value, list) else [value]
    if not entries:
        raise ConfigError("expected a path or a list of paths", where=where)
    return tuple(_locate(_path_text(entry, where), roots) for entry in entries)


def _parse_split(
    value: object, label_format: LabelFormat, roots: tuple[Path, ...], where: str
) -> SplitSource:
    if not isinstance(value, dict):
        if label_format == "yolo":
            return SplitSource(_locate_all(value, roots, where))
        raise ConfigError(
            f"expected a mapping for format '{label_format}'",
            where=where,
            fix="write it as {images: FOLDER, annotations: ...}",
        )
    _check_split_keys(value, label_format, where)
    images = _locate_all(value["images"], roots, f"{where}.images")
    if label_format != "yolo" and len(images) != 1:
        raise ConfigError("expected one folder", where=f"{where}.images")
    located = {
        key: _locate(_path_text(value[key], f"{where}.{key}"), roots)
        for key in ("annotations", "list")
        if value.get(key) is not None
    }
    backgrounds: tuple[Path, ...] = ()
    if value.get("backgrounds") is not None:
        backgrounds = _locate_all(value["backgrounds"], roots, f"{where}.backgrounds")
        for folder in backgrounds:
            if not folder.is_dir():
                raise DataError("there is no such folder", where=folder, fix=f"correct {where}.backgrounds")
    return SplitSource(images, located.get("annotations"), located.get("list"), backgrounds)


def _check_split_keys(value: Mapping[object, object], label_format: LabelFormat, where: str) -> None:
    needed, optional = _SPLIT_KEYS[label_format]
    known = (*needed, *optional)
    for key in value:
        if key not in known:
            what = f"unknown key for format '{label_format}'"
            raise ConfigError(what, where=f"{where}.{key}", fix=nearest(str(key), known))
    for key in needed:
        if value.get(key) is None:
            raise ConfigError(f"format '{label_format}' needs '{key}'", where=where)


def _classes(
    values: Mapping[str, Any], label_format: LabelFormat, splits: Mapping[str, SplitSource], file: Path
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Class names and the category id of each."""
    names = None if values.get("names") is None else _parse_names(values["names"], file)
    count = values.get("nc")
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise ConfigError(f"expected a positive number, got {str(count)[:60]!r}", where=f"{file}: nc")
    categories: list[tuple[int, str]] = []
    if label_format == "coco":
        from vedette.data.formats.coco import read_categories

        source = splits.get("val") or next(iter(splits.values()))
        categories = read_categories(cast("Path", source.annotations))
    if names is None:
        if not categories:
            raise ConfigError(
                "the class names are missing", where=f"{file}: names", fix="list them by class id"
            )
        names = tuple(name for _, name in categories)
        ids = tuple(number for number, _ in categories)
    else:
        by_name = {name: number for number, name in categories}
        ids = tuple(by_name.get(name, position) for position, name in enumerate(names))
    if label_format != "yolo" and len(set(names)) != len(names):
        raise ConfigError("two classes have the same name", where=f"{file}: names")
    if count is not None and count != len(names):
        raise ConfigError(f"is {count}, but there are {len(names)} names", where=f"{file}: nc")
    return names, ids


def _parse_names(value: object, file: Path) -> tuple[str, ...]:
    if isinstance(value, dict):
        if set(value) != set(range(len(value))):
            raise ConfigError("the keys must be 0, 1, 2 … without gaps", where=f"{file}: names")
        value = [value[number] for number in range(len(value))]
    if not isinstance(value, list) or not value:
        raise ConfigError(
            "expected a list of class names, or a mapping of 0, 1, 2 … to names", where=f"{file}: names"
        )
    return tuple(_class_name(name, f"{file}: names[{position}]") for position, name in enumerate(value))


def _class_name(value: object, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ConfigError(
            f"expected a name, got {value!r}"[:100], where=where, fix="put it in quotation marks"
        )
    name = str(value).strip()
    if not name or len(name) > MAX_NAME_LENGTH or not name.isprintable():
        raise ConfigError(
            f"a class name is 1 to {MAX_NAME_LENGTH} printable characters, got {name[:40]!r}", where=where
        )
    return name
