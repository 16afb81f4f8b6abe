from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from tests.data.small_sets import write_picture, write_text, write_yolo
from vedette.data.description import SHIPPED, load_description
from vedette.data.index import load_index, read_index
from vedette.errors import ConfigError, DataError, VedetteError


def _load(root: Path, yaml: str) -> object:
    return load_description(write_text(root / "data.yaml", yaml))


def test_published_form(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    yaml = (
        "train: ./images  # a comment\nval: [images, more.txt]\ntest: images\nnc: 2\nnames: {1: dog, 0: 7}\n"
    )
    description = load_description(write_text(tmp_path / "my set.yaml", yaml))
    assert description.name == "my set"
    assert description.argument == str(tmp_path / "my set.yaml")
    assert description.format == "yolo"
    assert description.class_names == ("7", "dog")
    assert description.category_ids == (0, 1)
    assert description.root == tmp_path
    assert description.splits["train"].images == (tmp_path / "images",)
    assert description.splits["val"].images == (tmp_path / "images", tmp_path / "more.txt")
    assert list(description.splits) == ["train", "val", "test"]
    assert pickle.loads(pickle.dumps(description)) == description
    with pytest.raises(TypeError):
        description.splits["x"] = description.splits["train"]  # type: ignore[index]


def test_relative_paths_with_and_without_a_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_picture(tmp_path / "sets" / "images" / "a.png")
    write_picture(tmp_path / "work" / "here" / "a.png")
    (tmp_path / "yaml").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    rooted = load_description(
        write_text(tmp_path / "yaml" / "a.yaml", "path: ../sets\ntrain: images\nval: here\nnames: [a]\n")
    )
    assert rooted.root == tmp_path / "sets"
    assert rooted.splits["train"].images == (tmp_path / "sets" / "images",)
    assert rooted.splits["val"].images == (tmp_path / "sets" / "here",), "with a root, nothing else is tried"
    free = load_description(
        write_text(tmp_path / "yaml" / "b.yaml", "train: ../sets/images\nval: here\nnames: [a]\n")
    )
    assert free.splits["train"].images == (tmp_path / "sets" / "images",)
    assert free.splits["val"].images == (tmp_path / "work" / "here",)
    assert list(read_index(free, "train").paths) == ["../sets/images/a.png"]


@pytest.mark.parametrize(
    ("yaml", "where", "what"),
    [
        ("trian: images\nnames: [a]\n", "trian", "did you mean 'train'?"),
        ("format: yolov5\ntrain: images\nnames: [a]\n", "format", "did you mean 'yolo'?"),
        ("names: [a]\n", "", "names no split"),
        ("train: images\n", "names", "missing"),
        ("train: images\nnames: a\n", "names", "list of class names"),
        ("train: images\nnames: {0: a, 2: b}\n", "names", "without gaps"),
        ("train: images\nnames: [yes, maybe]\n", "names[0]", "quotation marks"),
        ("train: images\nnames: [a, '']\n", "names[1]", "printable"),
        ('train: images\nnames: ["a\\nb"]\n', "names[0]", "printable"),
        (f"train: images\nnames: [{'a' * 300}]\n", "names[0]", "256"),
        ("train: images\nnc: 3\nnames: [a]\n", "nc", "there are 1 names"),
        ("train: images\nnc: many\nnames: [a]\n", "nc", "positive number"),
        ("train: 5\nnames: [a]\n", "train", "expected a path"),
        ("train: []\nnames: [a]\n", "train", "expected a path"),
        ("train: {images: images, annotation: x}\nnames: [a]\n", "train.annotation", "unknown key"),
        ("format: voc\ntrain: images\nnames: [a]\n", "train", "expected a mapping"),
        ("format: voc\ntrain: {images: images}\nnames: [a]\n", "train", "needs 'annotations'"),
        ("format: csv\ntrain: {images: [a, b], annotations: c}\nnames: [a]\n", "train.images", "one folder"),
        ("format: csv\ntrain: {images: a, annotations: c}\nnames: [a, a]\n", "names", "same name"),
        ("train: {images: a, backgrounds: gone}\nnames: [a]\n", "gone", "no such folder"),
        ("path: gone\ntrain: images\nnames: [a]\n", "gone", "root folder"),
        ("train: images\ncoordinates: inches\nnames: [a]\n", "coordinates", "known: edges, voc1"),
        ("- train\n", "", "mapping"),
    ],
)
def test_descriptions_that_make_no_sense(tmp_path: Path, yaml: str, where: str, what: str) -> None:
    with pytest.raises(VedetteError) as caught:
        _load(tmp_path, yaml)
    assert isinstance(caught.value, (ConfigError, DataError))
    assert what in str(caught.value)
    assert caught.value.where.endswith(where)
    assert caught.value.where.startswith(str(tmp_path))


def test_hostile_yaml(tmp_path: Path) -> None:
    bomb = "a: &a [x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(20)
    )
    canary = tmp_path / "canary"
    for yaml in (
        bomb,
        f"!!python/object/apply:os.system ['touch {canary}']",
        f"train: !!python/object/apply:os.system ['touch {canary}']\nnames: [a]\n",
        "x" * 2_000_000,
        "[" * 100_000,
    ):
        with pytest.raises(ConfigError):
            _load(tmp_path, yaml)
    assert not canary.exists()


def test_download_is_never_executed(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    download = f"download: touch {canary}\n"
    file = write_yolo(tmp_path, {"a": "0 .5 .5 .2 .2"}, "train: images\nval: gone\nnames: [a]\n" + download)
    index = load_index(load_description(file), "train", cache_dir=tmp_path / "cache")
    assert any("'download' is passed over" in note for note in index.notes)
    with pytest.raises(DataError, match="no such folder or list file") as caught:
        load_index(load_description(file), "val", cache_dir=tmp_path / "cache")
    assert "'download' is never executed" in str(caught.value)
    with pytest.raises(DataError, match="'download' is never executed"):
        _load(tmp_path, "path: gone\ntrain: x\nnames: [a]\n" + download)
    assert not canary.exists()


def test_there_is_no_such_description(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"did you mean 'bccd'\?"):
        load_description("bcdd")
    with pytest.raises(DataError, match="is a folder"):
        load_description(tmp_path)


def test_there_is_no_such_split(tmp_path: Path) -> None:
    description = load_description(write_yolo(tmp_path, {"a": ""}))
    with pytest.raises(DataError, match="has no split 'test'; it has: train, val"):
        description.source("test")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_descriptions(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VEDETTE_DATA_DIR", str(tmp_path / "data"))
    with pytest.raises(DataError, match="set VEDETTE_DATA_DIR") as caught:
        load_description(name)
    assert caught.value.where == str(tmp_path / "data" / name)
    (tmp_path / "data" / name).mkdir(parents=True)
    description = load_description(name)
    assert (description.name, description.argument) == (name, name)
    assert str(description.root).startswith(str(tmp_path / "data" / name))
    monkeypatch.delenv("VEDETTE_DATA_DIR")
    monkeypatch.setenv("VEDETTE_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(DataError) as caught:
        load_description(name)
    assert caught.value.where == str(tmp_path / "cache" / "datasets" / name)
    (tmp_path / "cache" / "datasets" / name).mkdir(parents=True)
    assert load_description(name).class_names == description.class_names


def test_a_file_named_like_a_shipped_one_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    description = load_description(write_text(tmp_path / "bccd.yaml", "path: sub\ntrain: x\nnames: [a]\n"))
    assert description.root == tmp_path / "sub"


def test_without_home_the_variable_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise RuntimeError("no home")

    for variable in ("VEDETTE_DATA_DIR", "VEDETTE_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(Path, "home", fail)
    with pytest.raises(DataError, match="VEDETTE_DATA_DIR is not set"):
        load_description("bccd")
