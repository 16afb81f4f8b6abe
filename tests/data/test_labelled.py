"""Which classes are labelled where: three ways to say it, strict reading, and what an index makes of it."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.small_sets import write_picture, write_text, write_yolo
from vedette.data.check import check_dataset
from vedette.data.description import load_description
from vedette.data.index import SplitIndex, load_index, read_index
from vedette.data.labelled import LabelledRules, labelled_classes
from vedette.errors import ConfigError, DataError, VedetteError

NAMES = ("cat", "dog", "bird")
ALL, CAT, DOG = [True, True, True], [True, False, False], [False, True, False]


def _set(root: Path, train: str, lines: str | None = None) -> Path:
    """Five pictures in two folders, one box of each class in each; returns the description."""
    rows = "\n".join(f"{class_id} .{3 + class_id} .5 .2 .2" for class_id in range(3))
    for name in ("one/a", "one/b", "two/a", "two/deep/c", "d"):
        write_picture(root / "images" / f"{name}.png")
        write_text(root / "labels" / f"{name}.txt", rows)
    if lines is not None:
        write_text(root / "labelled.csv", lines)
    return write_text(root / "data.yaml", f"train: {train}\nnames: [cat, dog, bird]\n")


def _labelled(file: Path) -> dict[str, list[bool]]:
    index = read_index(load_description(file), "train")
    sets = index.labelled_sets[index.labelled_set_ids].tolist()
    return {path.removeprefix("images/")[:-4]: known for path, known in zip(index.paths, sets, strict=True)}


def test_without_a_word_all_classes_are_labelled(tmp_path: Path) -> None:
    file = _set(tmp_path, "images")
    assert set(map(tuple, _labelled(file).values())) == {tuple(ALL)}
    index = read_index(load_description(file), "train")
    assert not index.partly_labelled
    assert not index.ignored.any()
    assert index.labels(0).labelled is None


def test_one_list_of_names_holds_for_every_picture(tmp_path: Path) -> None:
    file = _set(tmp_path, "{images: images, labelled: [dog]}")
    assert set(map(tuple, _labelled(file).values())) == {tuple(DOG)}


NEAREST = {"one/a": DOG, "one/b": CAT, "two/a": CAT, "two/deep/c": ALL, "d": ALL}


def test_places_in_the_description(tmp_path: Path) -> None:
    """The picture's own entry holds, else that of the nearest folder, else all classes are labelled."""
    places = (
        "{images/one: [cat], images/one/a.png: [dog], images/two: [cat], images/two/deep: [bird, dog, cat]}"
    )
    assert _labelled(_set(tmp_path, f"{{images: images, labelled: {places}}}")) == NEAREST


def test_places_in_a_file(tmp_path: Path) -> None:
    lines = (
        'images/one, cat\r\n\r\n./images/one/a.png,"dog"\nimages/two,cat,cat\n'
        f'"{tmp_path.as_posix()}/images/two/deep",dog,cat,bird\n'
    )
    file = _set(tmp_path, "{images: images, labelled: labelled.csv}", lines)
    assert _labelled(file) == NEAREST
    assert (
        _labelled(_set(tmp_path, "{images: images, labelled: labelled.csv}", "images/one\n"))["one/a"]
        == [False] * 3
    ), "no class at all"


def test_every_format_takes_it(tmp_path: Path) -> None:
    write_picture(tmp_path / "images" / "a.png")
    write_text(
        tmp_path / "boxes.csv",
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,40,30,cat,5,5,25,25\n",
    )
    yaml = (
        "format: csv\ntrain: {images: images, annotations: boxes.csv, labelled: [cat]}\nnames: [cat, dog]\n"
    )
    index = read_index(load_description(write_text(tmp_path / "data.yaml", yaml)), "train")
    assert index.labels(0).labelled is not None
    assert index.labels(0).labelled.tolist() == [True, False]  # type: ignore[union-attr]


def test_boxes_of_other_classes_are_named_and_ignored(tmp_path: Path) -> None:
    file = _set(tmp_path, "{images: images, labelled: {images/one: [cat]}}")
    description = load_description(file)
    index = read_index(description, "train")
    for number, path in enumerate(index.paths):
        labels = index.labels(number)
        expected = labels.class_ids > 0 if "/one/" in path else np.zeros(3, np.bool_)
        assert labels.ignored.tolist() == expected.tolist()
    report = check_dataset(description)
    named = [(Path(defect.path).name, defect.line, defect.kind) for defect in report.defects]
    assert named == [(f"{stem}.txt", line, "class-not-labelled") for stem in "ab" for line in (2, 3)]
    assert "'dog' is not labelled" in report.defects[0].text
    assert report.bad == 0
    line = (
        "train: 2 pictures have only some classes labelled; pictures with each class labelled: "
        "cat 5, dog 3, bird 3"
    )
    assert line in report.summary_lines()


@pytest.mark.parametrize(
    ("line", "kind", "words"),
    [
        ("images/one,cta", "labelled-class-unknown", "did you mean 'cat'?"),
        ("images/one,,", "labelled-class-unknown", "class ''"),
        ("images/oen,cat", "labelled-place-unknown", "there is no 'images/oen'"),
        (",cat", "labelled-malformed", "path of a picture or folder"),
        ('"images/one"x,cat', "labelled-malformed", "no line of CSV"),
        ("images/one\0,cat", "labelled-malformed", ""),
        ("./images/d.png,cat", "labelled-twice", "as in line 2"),
    ],
)
def test_faults_of_the_file_have_file_and_line(tmp_path: Path, line: str, kind: str, words: str) -> None:
    file = _set(
        tmp_path, "{images: images, labelled: labelled.csv}", f"images/two,dog\nimages/d.png\n{line}\n"
    )
    description = load_description(file)
    (defect,) = (found for found in check_dataset(description).defects if found.effect == "file")
    assert (defect.path, defect.line, defect.kind) == (str(tmp_path / "labelled.csv"), 3, kind)
    assert words in defect.text
    with pytest.raises(DataError, match=kind) as caught:
        load_index(description, "train", cache_dir=tmp_path / "cache")
    assert caught.value.where == f"{tmp_path / 'labelled.csv'}:3"


def test_a_file_may_serve_several_splits(tmp_path: Path) -> None:
    file = _set(
        tmp_path, "{images: images/one, labelled: labelled.csv}", "images/one,cat\nimages/two/a.png,dog\n"
    )
    assert _labelled(file) == {"one/a": CAT, "one/b": CAT}
    index = read_index(load_description(file), "train")
    assert len(index.labelled_sets) == 2, "only the sets that occur"


@pytest.mark.parametrize(
    ("split", "where", "what"),
    [
        ("labelled: [cta]", "train.labelled[0]", "did you mean 'cat'?"),
        ("labelled: []", "train.labelled", "at least one"),
        ("labelled: 5", "train.labelled", "list of class names"),
        ("labelled: {images/one: cat}", "train.labelled.images/one", "list of class names"),
        ("labelled: {images/one: [cat, dgo]}", "train.labelled.images/one[1]", "did you mean 'dog'?"),
        ("labelled: {images/oen: [cat]}", "images/oen", "no such file or folder"),
        ("labelled: gone.csv", "gone.csv", "no such file or folder"),
        ("labelled: [cat], objectness: unkown", "train.objectness", "unknown or background"),
        ("objectness: unknown", "train.objectness", "not all classes are labelled"),
        ("labeled: [cat]", "train.labeled", "did you mean 'labelled'?"),
    ],
)
def test_descriptions_that_make_no_sense(tmp_path: Path, split: str, where: str, what: str) -> None:
    with pytest.raises(VedetteError) as caught:
        load_description(_set(tmp_path, f"{{images: images, {split}}}"))
    assert isinstance(caught.value, (ConfigError, DataError))
    assert what in str(caught.value)
    assert caught.value.where.endswith(where)


def test_unknown_background_is_told_of_partly_labelled_pictures_only(tmp_path: Path) -> None:
    labelled = "labelled: {images/one: [cat]}"
    for objectness, expected in (
        ("", False),
        (", objectness: background", False),
        (", objectness: unknown", True),
    ):
        index = read_index(
            load_description(_set(tmp_path, f"{{images: images, {labelled}{objectness}}}")), "train"
        )
        for number, path in enumerate(index.paths):
            assert index.labels(number).background_unknown == (expected and "/one/" in path)
    file = _set(tmp_path, "{images: images, labelled: [cat], objectness: unknown}")
    index = load_index(load_description(file), "train", cache_dir=tmp_path / "cache")
    assert any("nothing teaches where there is no object" in note for note in index.notes)


def test_descriptions_with_rules_cross_process_borders(tmp_path: Path) -> None:
    file = _set(tmp_path, "{images: images, labelled: {images/one: [cat]}}")
    description = load_description(file)
    assert pickle.loads(pickle.dumps(description)) == description


def test_the_cache_follows_every_change(tmp_path: Path) -> None:
    def load(train: str, lines: str) -> SplitIndex:
        return load_index(
            load_description(_set(tmp_path, train, lines)), "train", cache_dir=tmp_path / "cache"
        )

    whole = load("images", "")
    hashes = {whole.content_hash}
    for train, lines in (
        ("{images: images, labelled: [cat]}", ""),
        ("{images: images, labelled: [dog]}", ""),
        ("{images: images, labelled: labelled.csv}", "images/one,cat\n"),
        ("{images: images, labelled: labelled.csv}", "images/one,dog\n"),
        ("{images: images, labelled: labelled.csv, objectness: unknown}", "images/one,dog\n"),
    ):
        index, again = load(train, lines), load(train, lines)
        hashes.add(index.content_hash)
        for one in (again, read_index(load_description(tmp_path / "data.yaml"), "train")):
            assert one.content_hash == index.content_hash
            for name in ("labelled_sets", "labelled_set_ids", "background_unknown", "ignored"):
                np.testing.assert_array_equal(getattr(one, name), getattr(index, name))
    assert len(hashes) == 6
    spelled_out = load("{images: images, labelled: [bird, dog, cat]}", "")
    assert spelled_out.content_hash == whole.content_hash, "all classes labelled is the same as no word of it"


def test_one_class_of_several_is_labelled_where_all_were(tmp_path: Path) -> None:
    single = read_index(
        load_description(_set(tmp_path, "{images: images, labelled: {images/one: [cat]}}")), "train"
    ).as_single_class()
    known = single.labelled_sets[single.labelled_set_ids]
    assert known.tolist() == [["/one/" not in path] for path in single.paths]


FOLDERS = st.lists(st.sampled_from("ab"), max_size=3).map(lambda parts: "/".join(["", "data", *parts]))


@settings(deadline=None, max_examples=150)
@given(
    pictures=st.lists(FOLDERS.map(lambda folder: f"{folder}/x.png"), min_size=1, max_size=6, unique=True),
    entries=st.dictionaries(
        st.one_of(FOLDERS, FOLDERS.map(lambda folder: f"{folder}/x.png")),
        st.lists(st.sampled_from(NAMES), unique=True),
        max_size=6,
    ),
)
def test_the_nearest_entry_holds(pictures: list[str], entries: dict[str, list[str]]) -> None:
    rules = LabelledRules(tuple((place, tuple(names)) for place, names in entries.items()))
    found = labelled_classes(rules, pictures, NAMES, [])
    for path, known in zip(pictures, found.sets[found.set_ids].tolist(), strict=True):
        above = [path, *(str(parent.as_posix()) for parent in Path(path).parents)]
        names = next((entries[place] for place in above if place in entries), list(NAMES))
        assert known == [name in names for name in NAMES]
    assert found.partial.tolist() == [not all(known) for known in found.sets[found.set_ids].tolist()]
    assert found.sets[0].all()


def test_two_classes_of_one_name_are_labelled_together(tmp_path: Path) -> None:
    file = write_yolo(
        tmp_path, {"a": ""}, "train: {images: images, labelled: [cat]}\nnames: [cat, dog, cat]\n"
    )
    index = read_index(load_description(file), "train")
    assert index.labelled_sets[index.labelled_set_ids].tolist() == [[True, False, True]]
