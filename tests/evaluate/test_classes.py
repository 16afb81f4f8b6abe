from __future__ import annotations

import pytest

from vedette.errors import ModelError
from vedette.evaluate.classes import map_classes


@pytest.mark.parametrize(
    ("model", "data", "expected", "kind"),
    [
        (["a", "b"], ["a", "b"], [0, 1], "same"),
        (["a", "b"], ["b", "a"], [1, 0], "by name"),
        (["a", "b", "c"], ["c", "a"], [1, -1, 0], "by name"),
        (["class0", "class1"], ["cat", "dog"], [0, 1], "by number"),
        (["x", "x"], ["a", "b"], [0, 1], "by number"),
    ],
)
def test_mapping(model: list[str], data: list[str], expected: list[int], kind: str) -> None:
    mapping, found = map_classes(model, data)
    assert mapping.tolist() == expected
    assert found == kind


def test_single_class() -> None:
    mapping, kind = map_classes(["a", "b", "c"], ["x"], single=True)
    assert mapping.tolist() == [0, 0, 0]
    assert kind == "single"


def test_classes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ModelError, match=r"model has 3 classes, the data 2; the model does not know dog"):
        map_classes(["a", "b", "cat"], ["cat", "dog"])
