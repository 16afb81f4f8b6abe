import base64
import json

import pytest

from tests.checkpoint.contracts import small_golden
from vedette.checkpoint.golden import Golden
from vedette.checkpoint.strict_json import Fields
from vedette.core.letterbox import LetterboxPolicy
from vedette.errors import CheckpointError

GOLDEN = small_golden(LetterboxPolicy())


def read(value):
    return Golden.from_fields(Fields({"golden": value}, "file"), "golden")


def test_round_trip():
    assert read(json.loads(json.dumps(GOLDEN.to_dict()))) == GOLDEN


@pytest.mark.parametrize(
    ("key", "value", "place"),
    [
        ("png", "not base64!", "png"),
        ("png", base64.b64encode(b"x" * 5_000_000).decode(), "png"),
        ("placement", {}, "frame_hw"),
        ("detections", [[1, 2, 3, 4, 0.5]], "detection 0"),
        ("detections", [[1, 2, 3, 4, 1.5, "red"]], "score"),
        ("detections", [[1, 2, 3, 1e9, 0.5, "red"]], "box"),
        ("detections", [[1, 2, 3, 4, 0.5, "red"]] * 1001, "detections"),
        ("other", 1, "picture 0"),
    ],
)
def test_bad_pictures_are_refused(key, value, place):
    values = json.loads(json.dumps(GOLDEN.to_dict()))
    values["pictures"][0][key] = value
    with pytest.raises(CheckpointError) as caught:
        read(values)
    assert caught.value.where.startswith("file: golden: picture 0")
    assert place in caught.value.where


def test_number_of_pictures_is_bounded():
    for count in (0, 17):
        values = json.loads(json.dumps(GOLDEN.to_dict()))
        values["pictures"] = values["pictures"] * count
        with pytest.raises(CheckpointError, match="pictures: must be a list of 1 to 16 values"):
            read(values)
