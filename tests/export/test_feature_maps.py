import pytest

from tests.model.lively import lively_detector
from vedette.checkpoint.feature_maps import FeatureMap
from vedette.errors import ModelError
from vedette.export.feature_maps import feature_maps


@pytest.fixture(scope="module")
def detector():
    return lively_detector()


def test_words_are_layers(detector):
    found = feature_maps(detector, ("17", "backbone.p3", "2", "neck.p3"))
    assert found.layers == (2, 4, 17)
    assert found.level_inputs == detector.level_inputs == (17, 20, 23)
    assert [shown.stride for shown in found.maps] == [4, 8, 8]
    assert found.maps[1] == FeatureMap(4, ("backbone.p3",), found.maps[1].channels, 8)


@pytest.mark.parametrize("name", ["tiny", "yolov5s@v1.0"])
def test_box_is_what_the_output_convolutions_read(name):
    chosen = lively_detector(name)
    found = feature_maps(chosen, ("box",))
    assert found.layers == tuple(sorted(chosen.level_inputs))
    convolutions = dict(zip(chosen.level_inputs, chosen.output_convolutions, strict=True))
    for shown in found.maps:
        assert shown.channels == convolutions[shown.layer].in_channels


@pytest.mark.parametrize("word", ["boxes", "24", "-1", "99999999999", "1.5", "backbone.p9", "²"])
def test_no_such_layer(word, detector):
    with pytest.raises(ModelError, match="layers: "):
        feature_maps(detector, (word,))
