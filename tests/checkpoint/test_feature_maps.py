import json
from copy import deepcopy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.checkpoint.feature_maps import ExpectedMap, FeatureMap, FeatureMaps
from vedette.checkpoint.strict_json import Fields
from vedette.errors import CheckpointError, ModelError

MAPS = FeatureMaps(
    (17, 20), (FeatureMap(4, ("backbone.p3",), 6, 8), FeatureMap(17, ("neck.p3", "finest"), 8, 8))
)


def read(value):
    return FeatureMaps.from_fields(Fields({"features": value}, "best.onnx"), "features")


def values():
    return deepcopy(json.loads(json.dumps(MAPS.to_dict())))


def test_what_is_written_is_read_back_equal():
    assert read(values()) == MAPS
    assert MAPS.layers == (4, 17)


def test_a_layer_is_found_by_number_and_by_name():
    assert [MAPS.place(layer) for layer in (4, "backbone.p3", 17, "finest")] == [0, 0, 1, 1]
    for unknown in (20, "neck.p4", True, "17"):
        with pytest.raises(ModelError) as caught:
            MAPS.place(unknown)
        assert caught.value.fix == (
            "it has 4 = backbone.p3, 17 = neck.p3 = finest; export it again with --features for others"
        )


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda v: v.pop("level_inputs"), "level_inputs"),
        (lambda v: v.update(more=1), "features"),
        (lambda v: v["maps"].clear(), "maps"),
        (lambda v: v["maps"].reverse(), "maps"),
        (lambda v: v["maps"].append(v["maps"][1]), "maps"),
        (lambda v: v["maps"][0].update(names=["neck.p3"]), "maps"),
        (lambda v: v["maps"][0].update(names=["a\nb"]), "names"),
        (lambda v: v["maps"][0].update(layer=-1), "layer"),
        (lambda v: v["maps"][0].update(channels=0), "channels"),
        (lambda v: v["maps"][0].update(stride=10**9), "stride"),
        (lambda v: v["maps"][0].update(stride="8"), "stride"),
        (lambda v: v["maps"].__setitem__(0, "__import__('os')"), "map 0"),
        (lambda v: v.update(level_inputs=[1.5, 2]), "level_inputs"),
    ],
)
def test_other_values_are_refused(change, place):
    value = values()
    change(value)
    with pytest.raises(CheckpointError, match=r"^best\.onnx: features") as caught:
        read(value)
    assert place in caught.value.where


RANDOM = np.random.default_rng(4)
MAP = RANDOM.standard_normal((16, 12, 20), np.float32) * 3 + 1

CHANGES = {
    "another map": lambda m: np.random.default_rng(5).standard_normal(m.shape, np.float32),
    "2 % larger": lambda m: m * 1.02,
    "one channel turned round": lambda m: np.where(np.arange(16)[:, None, None] == 7, -m, m),
    "channels in another order": lambda m: m[::-1],
    "one cell further right": lambda m: np.roll(m, 1, axis=2),
    "upside down": lambda m: m[:, ::-1],
    "not a number": lambda m: np.full_like(m, np.nan),
    "other channels": lambda m: m[:8],
    "smaller": lambda m: m[:, :4, :4],
    "nothing": lambda m: m * 0,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_map_is_seen(name):
    kept = ExpectedMap.of(3, MAP)
    assert kept.difference(ExpectedMap.of(3, CHANGES[name](MAP))) > 0.01


@pytest.mark.parametrize("seed", range(5))
def test_rounding_is_not(seed):
    noise = np.random.default_rng(seed).uniform(-1e-6, 1e-6, MAP.shape).astype(np.float32)
    assert ExpectedMap.of(3, MAP).difference(ExpectedMap.of(3, MAP * (1 + noise))) < 1e-5


def test_a_dead_map_can_be_compared():
    dead = ExpectedMap.of(1, np.zeros((2, 3, 3), np.float32))
    assert dead.difference(dead) == 0.0
    assert dead.difference(ExpectedMap.of(1, np.ones((2, 3, 3), np.float32))) > 1


@given(st.tuples(st.integers(1, 5), st.integers(1, 20), st.integers(1, 20)), st.integers(0, 99))
def test_what_is_kept_of_a_map_survives_json(shape, seed):
    kept = ExpectedMap.of(9, np.random.default_rng(seed).standard_normal(shape, np.float32) * 1e3)
    text = json.dumps(kept.to_dict())
    assert ExpectedMap.from_value(json.loads(text), "x") == kept
    assert len(kept.samples) == min(256, int(np.prod(shape)))


@pytest.mark.parametrize(
    "change", [{"layer": "3"}, {"means": []}, {"means": ["a"]}, {"samples": [1e39]}, {"samples": 3}, {"a": 1}]
)
def test_what_is_no_such_thing_is_refused(change):
    with pytest.raises(CheckpointError, match=r"^x"):
        ExpectedMap.from_value({**ExpectedMap.of(3, MAP).to_dict(), **change}, "x")
