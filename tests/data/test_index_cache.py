from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.data.faulty_sets import write_faulty_coco, write_faulty_csv, write_faulty_voc, write_faulty_yolo
from tests.data.small_sets import write_picture, write_text, write_yolo
from vedette.data import index as index_module
from vedette.data.description import load_description
from vedette.data.index import SplitIndex, load_index
from vedette.data.index_cache import FORMAT, fingerprint

GOOD = "0 0.5 0.5 0.4 0.4\n"


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry each time an index is really built."""
    entries: list[str] = []
    original = index_module.build_split

    def build(description: object, files: object) -> object:
        entries.append("built")
        return original(description, files)  # type: ignore[arg-type]

    monkeypatch.setattr(index_module, "build_split", build)
    return entries


def _load(file: Path, cache: Path) -> SplitIndex:
    return load_index(load_description(file), "train", cache_dir=cache, max_bad_fraction=1.0)


def _equal(a: SplitIndex, b: SplitIndex) -> bool:
    names = ("sizes_hw", "offsets", "boxes_xyxy_px", "class_ids", "ignored", "areas", "image_ids")
    arrays = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)
    others = ("content_hash", "counts", "defects", "class_names", "category_ids", "root")
    return arrays and list(a.paths) == list(b.paths) and all(getattr(a, n) == getattr(b, n) for n in others)


@pytest.mark.parametrize("write", [write_faulty_yolo, write_faulty_coco, write_faulty_voc, write_faulty_csv])
def test_a_cached_index_equals_a_built_one(
    tmp_path: Path, builds: list[str], write: Callable[[Path], tuple[Path, object]]
) -> None:
    file, _ = write(tmp_path / "set")
    built, cached = _load(file, tmp_path / "cache"), _load(file, tmp_path / "cache")
    assert len(builds) == 1
    assert _equal(built, cached)
    assert built.boxes_xyxy_px.flags.writeable == cached.boxes_xyxy_px.flags.writeable


def _same_size_edit(root: Path) -> None:
    """The edit that a key of sizes and times misses."""
    path = root / "labels" / "a.txt"
    state = path.stat()
    path.write_text(GOOD.replace("0 ", "1 ", 1), encoding="utf-8")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "label of the same size and time": _same_size_edit,
    "label removed": lambda root: (root / "labels" / "a.txt").unlink(),
    "label added": lambda root: write_text(root / "labels" / "c.txt", GOOD),
    "picture added": lambda root: write_picture(root / "images" / "d.png"),
    "picture removed": lambda root: (root / "images" / "b.png").unlink(),
    "picture of another size": lambda root: write_picture(root / "images" / "b.png", width=50),
    "picture touched": lambda root: os.utime(root / "images" / "b.png", ns=(1, 1)),
    "class renamed": lambda root: write_text(
        root / "data.yaml", "train: images\nval: images\nnames: [cat, dog, cow]\n"
    ),
    "class added": lambda root: write_text(
        root / "data.yaml", "train: images\nval: images\nnames: [a, b, c, d]\n"
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_rebuilds(tmp_path: Path, builds: list[str], change: str) -> None:
    root, cache = tmp_path / "set", tmp_path / "cache"
    file = write_yolo(root, {"a": GOOD, "b": GOOD, "c": None})
    _load(file, cache)
    CHANGES[change](root)
    after = _load(file, cache)
    assert len(builds) == 2, change
    assert _equal(after, _load(file, cache))
    assert len(builds) == 2
    assert len(list((cache / "indexes").iterdir())) == 1, "a rebuild replaces the file"


def test_a_change_of_the_label_shows(tmp_path: Path) -> None:
    root, cache = tmp_path / "set", tmp_path / "cache"
    file = write_yolo(root, {"a": GOOD})
    assert _load(file, cache).class_ids.tolist() == [0]
    _same_size_edit(root)
    assert _load(file, cache).class_ids.tolist() == [1]


class _Attack:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, ("touch canary",))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda raw: b"", id="empty"),
        pytest.param(lambda raw: raw[:-1], id="truncated"),
        pytest.param(lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), id="one bit"),
        pytest.param(lambda raw: raw.replace(FORMAT.encode(), b"vedette-index 1"), id="other version"),
        pytest.param(lambda raw: pickle.dumps(_Attack()), id="pickle"),
        pytest.param(lambda raw: _signed(b"not safetensors"), id="signed rubbish"),
        pytest.param(lambda raw: _signed(b"\x02\0\0\0\0\0\0\0{}"), id="signed and empty"),
        pytest.param(lambda raw: _signed(pickle.dumps(_Attack())), id="signed pickle"),
    ],
)
def test_damaged_and_foreign_files_are_rebuilt_with_a_note(
    tmp_path: Path, builds: list[str], content: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = write_yolo(tmp_path / "set", {"a": GOOD})
    first = _load(file, tmp_path / "cache")
    (path,) = (tmp_path / "cache" / "indexes").iterdir()
    path.write_bytes(content(path.read_bytes()))
    again = _load(file, tmp_path / "cache")
    assert len(builds) == 2
    assert _equal(first, again)
    assert len(again.notes) == 1
    assert f"the cached index {path} is rebuilt" in again.notes[0]
    assert not _load(file, tmp_path / "cache").notes
    assert not (tmp_path / "canary").exists()


def _signed(payload: bytes) -> bytes:
    return f"{FORMAT} {hashlib.sha256(payload).hexdigest()}\n".encode() + payload


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, cache = tmp_path / "set", tmp_path / "cache"
    file = write_yolo(root, {"a": GOOD})
    _load(file, cache)
    (path,) = (cache / "indexes").iterdir()
    before = path.read_bytes()

    def fail(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    _same_size_edit(root)
    index = _load(file, cache)
    assert index.class_ids.tolist() == [1]
    assert "No space left on device" in index.notes[0]
    assert list((cache / "indexes").iterdir()) == [path]
    assert path.read_bytes() == before


def test_splits_and_data_sets_have_files_of_their_own(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for folder in ("one", "two"):
        description = load_description(write_yolo(tmp_path / folder, {"a": GOOD}))
        for split in ("train", "val"):
            load_index(description, split, cache_dir=cache)
    assert len(list((cache / "indexes").iterdir())) == 4


def test_another_picture_format_is_another_index(tmp_path: Path) -> None:
    """The same files are converted in another way, or refused."""
    file = write_yolo(tmp_path, {"a": "0 .5 .5 .5 .5"})
    before = fingerprint(load_description(file), "train", "")
    write_text(file, file.read_text("utf-8") + "channels: 1\n")
    assert fingerprint(load_description(file), "train", "") != before
    write_text(file, file.read_text("utf-8").replace("channels: 1", "channels: 3"))
    assert fingerprint(load_description(file), "train", "") == before
