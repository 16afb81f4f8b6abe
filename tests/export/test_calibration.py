import numpy as np
import pytest

from vedette.core.letterbox import LetterboxPolicy
from vedette.data.description import load_description
from vedette.data.index import load_index
from vedette.data.synthetic import draw_dataset
from vedette.errors import DataError
from vedette.export.calibration import calibration_set


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    description = draw_dataset(folder, train=10, val=1, size_hw=(64, 96))
    return load_index(load_description(str(description)), "train")


def test_frames_are_spread_over_the_split(index):
    made = calibration_set(index, LetterboxPolicy(size_hw=(64, 64)), 4)
    assert (made.frames.shape, made.frames.dtype) == ((4, 64, 64, 3), np.uint8)
    again = calibration_set(index, LetterboxPolicy(size_hw=(64, 64)), 4)
    assert made.sha256 == again.sha256
    others = [
        calibration_set(index, LetterboxPolicy(size_hw=(64, 64)), 5),
        calibration_set(index, LetterboxPolicy(size_hw=(64, 64), pad_value=0), 4),
        calibration_set(index, LetterboxPolicy(size_hw=(64, 96)), 4),
    ]
    assert len({made.sha256, *(other.sha256 for other in others)}) == 4


def test_no_more_frames_than_pictures(index):
    assert len(calibration_set(index, LetterboxPolicy(size_hw=(64, 64)), 100).frames) == 10


def test_frames_of_many_sizes_become_one(index):
    policy = LetterboxPolicy(size_hw=(64, 128), shape="minimal")
    assert calibration_set(index, policy, 3).frames.shape == (3, 64, 128, 3)


def test_unreadable_pictures_are_passed_over(tmp_path):
    description = draw_dataset(tmp_path, train=4, val=1, size_hw=(64, 96))
    index = load_index(load_description(str(description)), "train", cache_dir=tmp_path / "cache")
    first, *rest = sorted((tmp_path / "images" / "train").iterdir())
    first.unlink()
    assert len(calibration_set(index, LetterboxPolicy(size_hw=(64, 64)), 4).frames) == 3
    for path in rest:
        path.unlink()
    with pytest.raises(DataError, match="no picture of the split can be read"):
        calibration_set(index, LetterboxPolicy(size_hw=(64, 64)), 4)
