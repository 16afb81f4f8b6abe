import pytest

from vedette.checkpoint.strict_json import Fields
from vedette.checkpoint.suppression import nms_from_fields, nms_to_dict
from vedette.core.nms import NmsSettings
from vedette.errors import CheckpointError


@pytest.mark.parametrize(
    "settings",
    [
        NmsSettings(),
        NmsSettings(0.1, 0.7, (1, 5), True, False, 100, 7, 4096.0, True),
        NmsSettings(class_ids=()),
    ],
)
def test_round_trip(settings):
    assert nms_from_fields(Fields({"nms": nms_to_dict(settings)}, "f"), "nms") == settings


@pytest.mark.parametrize("name", sorted(nms_to_dict(NmsSettings())))
def test_wrong_values_are_refused(name):
    values = {**nms_to_dict(NmsSettings()), name: "x"}
    with pytest.raises(CheckpointError, match=f"f: nms: {name}: must be"):
        nms_from_fields(Fields({"nms": values}, "f"), "nms")
