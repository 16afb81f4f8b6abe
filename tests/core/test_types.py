import json
import subprocess
import sys

import numpy as np
import pytest

from vedette.core.types import Detections
from vedette.errors import MissingExtraError


def found(**changes):
    values = {
        "boxes_xyxy_px": np.array([[1.23456, 2, 30.98765, 44.4], [5, 6, 7, 8]], dtype=np.float32),
        "scores": np.array([0.75, 0.123456789], dtype=np.float32),
        "class_ids": np.array([1, 0]),
        "class_names": ("cat", "do\ng"),
        "size_hw": (50, 60),
        "path": "a.jpg",
    }
    return Detections(**{**values, **changes})


def test_records_are_plain_values():
    first, second = json.loads(json.dumps(found().records()))
    assert first["class_id"] == 1
    assert second == {
        "box_xyxy": [5.0, 6.0, 7.0, 8.0],
        "score": pytest.approx(0.123456789),
        "class_id": 0,
        "class_name": "cat",
    }


def test_json_is_one_line_with_everything():
    text = found().to_json()
    assert "\n" not in text
    content = json.loads(text)
    assert (content["path"], content["size_hw"]) == ("a.jpg", [50, 60])
    assert content["detections"] == found().records()


def test_json_refuses_what_is_not_a_number():
    with pytest.raises(ValueError, match="JSON compliant"):
        found(scores=np.array([np.nan, 0.5], dtype=np.float32)).to_json()


def test_coco_has_corner_and_size_and_the_categories_of_the_file():
    first, second = found().to_coco("7", category_ids=(3, 90))
    assert first == {"image_id": "7", "category_id": 90, "bbox": [1.235, 2.0, 29.753, 42.4], "score": 0.75}
    assert second["category_id"] == 3
    assert second["score"] == 0.12346
    assert [record["category_id"] for record in found().to_coco(1)] == [1, 0]


def test_chosen_boxes_keep_the_rest():
    one = found().chosen(np.array([False, True]))
    assert (len(one), one.path, one.class_ids.tolist()) == (1, "a.jpg", [0])


def test_track_ids_go_wherever_the_boxes_go():
    tracked = found(track_ids=np.array([7, -1]))
    assert [record["track_id"] for record in tracked.records()] == [7, None]
    assert json.loads(tracked.to_json())["detections"] == tracked.records()
    assert [record.get("track_id", "none") for record in tracked.to_coco(1)] == [7, "none"]
    assert tracked.chosen(np.array([1, 0])).track_ids.tolist() == [-1, 7]
    assert tracked.chosen(np.array([True, False])).track_ids.tolist() == [7]
    assert "track_id" not in found().records()[0]
    assert found().chosen(np.array([0])).track_ids is None


def test_a_picture_of_a_video_keeps_its_number_and_time():
    moving = found(frame_index=12, time_ms=480.5)
    content = json.loads(moving.to_json())
    assert (content["frame_index"], content["time_ms"]) == (12, 480.5)
    assert moving.chosen(np.array([0])).frame_index == 12
    assert "frame_index" not in json.loads(found().to_json())


@pytest.mark.skipif("supervision" in sys.modules, reason="supervision is already imported")
def test_supervision_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingExtraError, match=r"vedette\[supervision\]"):
        found().to_supervision()


def test_supervision_gets_its_arrays(tmp_path):
    """With a package of that name that takes what the real one's documentation says."""
    (tmp_path / "supervision.py").write_text(
        "from dataclasses import dataclass\n"
        "@dataclass(kw_only=True)\n"
        "class Detections:\n"
        "    xyxy: object\n    confidence: object\n    class_id: object\n    tracker_id: object\n    data: dict\n"
    )
    code = (
        "import numpy as np, sys\n"
        "from tests.core.test_types import found\n"
        "assert 'supervision' not in sys.modules\n"
        "made = found().to_supervision()\n"
        "assert made.xyxy.shape == (2, 4) and made.confidence.shape == (2,)\n"
        "assert made.class_id.tolist() == [1, 0] and made.tracker_id is None\n"
        "assert found(track_ids=np.array([4, -1])).to_supervision().tracker_id.tolist() == [4, -1]\n"
        "assert made.data['class_name'].tolist() == ['do\\ng', 'cat']\n"
        "empty = found(boxes_xyxy_px=np.zeros((0, 4), np.float32), scores=np.zeros(0, np.float32),\n"
        "              class_ids=np.zeros(0, np.int64)).to_supervision()\n"
        "assert empty.data['class_name'].shape == (0,)\n"
    )
    from tests.conftest import REPOSITORY

    program = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(REPOSITORY)!r}]\n{code}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
