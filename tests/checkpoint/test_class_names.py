import pytest

from vedette.checkpoint.class_names import checked_class_names
from vedette.errors import CheckpointError


def test_names_of_any_script():
    assert checked_class_names(["Auto", "犬", "a b"], 3, "f") == ("Auto", "犬", "a b")


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ("ab", "f: has no class names for 2 classes"),
        (["a"], "f: has 1 class names for 2 classes"),
        (["a", ""], "f: class name 1: is no text of 1 to 256"),
        (["a", 3], "f: class name 1: is no text"),
        (["a" * 257, "b"], "f: class name 0: is no text"),
        (["a\u2028", "b"], "f: class name 0: holds a control character"),
        (["a", "\ud800"], "f: class name 1: holds a control character"),
    ],
)
def test_others_are_refused(names, text):
    with pytest.raises(CheckpointError) as caught:
        checked_class_names(names, 2, "f")
    assert str(caught.value).startswith(text)
