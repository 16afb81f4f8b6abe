from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.errors import ModelError
from vedette.model.plan import plan
from vedette.model.releases import architecture, known_names
from vedette.model.rows import (
    ACTIVATIONS,
    Architecture,
    Row,
    parse_activation,
    parse_architecture,
    parse_row,
)

PUBLISHED_FORM: dict[str, Any] = {
    "nc": 3,
    "depth_multiple": 0.33,
    "width_multiple": 0.5,
    "anchors": [[10, 13, 16, 30], [30, 61, 62, 45]],
    "backbone": [
        [-1, 1, "Focus", [64, 3]],
        [-1, 1, "Conv", [128, 3, 2]],
        [-1, 3, "C3", [128]],
        [-1, 1, "nn.Conv2d", [256, 3, 2, 1]],
        [-1, 1, "SPP", [256, [5, 9, 13]]],
    ],
    "head": [
        [-1, 1, "nn.Upsample", ["None", 2, "nearest"]],
        [[-1, 2], 1, "Concat", [1]],
        [-1, 3, "C3", [128, "False"]],
        [[7, 4], 1, "Detect", ["nc", "anchors"]],
    ],
}


def parse(**changes: Any) -> Architecture:
    return parse_architecture({**copy.deepcopy(PUBLISHED_FORM), **changes}, "m.yaml")


@pytest.mark.parametrize("name", known_names())
def test_json_round_trip(name: str) -> None:
    plain = architecture(name, classes=7, channels=4)
    assert Architecture.from_dict(json.loads(json.dumps(plain.to_dict()))) == plain


def test_json_round_trip_of_placeholder_anchors() -> None:
    plain = replace(architecture("tiny"), anchors_px=3)
    assert Architecture.from_dict(json.loads(json.dumps(plain.to_dict()))) == plain
    assert plain.anchors_per_level == 3


def test_published_form() -> None:
    parsed = parse()
    assert parsed.rows[0] == Row((-1,), 1, "Focus", (64, 3))
    assert parsed.rows[4].arguments == (256, (5, 9, 13))
    assert parsed.rows[5] == Row((-1,), 1, "Upsample", (None, 2, "nearest"))
    assert parsed.rows[7].arguments == (128, False)
    assert parsed.backbone_rows == 5
    assert (parsed.name, parsed.release, parsed.classes, parsed.channels) == ("custom", "v4.0", 3, 3)
    assert parsed.anchors_px == (((10, 13), (16, 30)), ((30, 61), (62, 45)))
    assert parsed.outputs_per_cell == 2 * 8
    assert parsed.bn_eps == 1e-3
    assert [layer.stride for layer in plan(parsed)] == [2, 4, 4, 8, 8, 4, 4, 4, 8]


def test_arguments_of_the_caller_and_of_the_file() -> None:
    assert parse_architecture(PUBLISHED_FORM, "m", classes=9, channels=1).classes == 9
    assert parse_architecture(PUBLISHED_FORM, "m", classes=9, channels=1).channels == 1
    assert parse_architecture({**PUBLISHED_FORM, "ch": 4}, "m", channels=1).channels == 4
    without = {key: value for key, value in PUBLISHED_FORM.items() if key != "nc"}
    assert parse_architecture(without, "m", classes=2).classes == 2
    assert parse(activation="nn.LeakyReLU(0.1)").activation == "LeakyReLU(0.1)"
    ruled = parse_architecture(PUBLISHED_FORM, "m", rules={"name": "mine", "bn_eps": 1e-4})
    assert (ruled.name, ruled.bn_eps) == ("mine", 1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depht_multiple": 1}, "m.yaml: depht_multiple: unknown key; did you mean 'depth_multiple'"),
        ({"nc": 0}, "m.yaml: classes: must be a whole number from 1 to 100000, not 0"),
        ({"nc": "80"}, "m.yaml: classes: must be a whole number"),
        ({"ch": 0}, "m.yaml: channels: must be"),
        ({"width_multiple": -1}, "m.yaml: width_multiple: must be a number"),
        ({"depth_multiple": "1/3"}, "m.yaml: depth_multiple: must be a number"),
        ({"anchors": [[1, 2, 3]]}, "m.yaml: anchors: level 0: has 3 numbers"),
        ({"anchors": [[1, 2], [3, 4, 5, 6]]}, "m.yaml: anchors: every level needs the same number"),
        ({"activation": "nn.SiLUU()"}, "m.yaml: activation: 'SiLUU' is not known; did you mean 'SiLU'"),
        ({"activation": "__import__('os')"}, "m.yaml: activation: "),
        ({"head": []}, "m.yaml: head: must be a list"),
        ({"backbone": {}}, "m.yaml: backbone: must be a list"),
    ],
)
def test_bad_keys_name_file_and_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse(**changes)
    assert str(caught.value).startswith(message), str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ([-1, 1, "Conv"], "must be a list of 4 to 4 entries"),
        ("Conv", "must be a list of 4 to 4 entries"),
        ([-1, 1, "Convv", [64]], "module: 'Convv' is not known; did you mean 'Conv'"),
        ([-1, 1, "os.system", ["ls"]], "module: 'os.system' is not known"),
        ([-1, 1, 7, [64]], "module: "),
        ([-1, 0, "Conv", [64]], "Conv: repeats: must be a whole number from 1 to 100, not 0"),
        ([-1, 101, "Conv", [64]], "Conv: repeats: must be"),
        ([-1, 1.0, "Conv", [64]], "Conv: repeats: must be"),
        (["-1", 1, "Conv", [64]], "Conv: from: must be a whole number"),
        ([[], 1, "Conv", [64]], "Conv: from: must be a list"),
        ([-1, 1, "Conv", 64], "arguments: must be a list"),
        ([-1, 1, "Conv", ["na*(nc+5)"]], "Conv: arguments: 'na*(nc+5)' is not known"),
        ([-1, 1, "Conv", ["__import__('os').system('ls')"]], "Conv: arguments: "),
        ([-1, 1, "Conv", [64, {}]], "Conv: arguments: must be a whole number"),
        ([-1, 1, "Conv", [64, [[1]]]], "Conv: arguments: must be a whole number"),
        ([-1, 1, "Conv", [70000]], "Conv: arguments: must be a whole number from 0 to 65536"),
        ([-1, 1, "Conv", [float("nan")]], "Conv: arguments: must be finite"),
        ([-1, 1, "Conv", [1] * 17], "arguments: must be a list of 0 to 16"),
    ],
)
def test_bad_rows_name_their_place(line: Any, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse(head=[[-1, 1, "Conv", [64]], line])
    assert str(caught.value).startswith(f"m.yaml: row 6: {message}"), str(caught.value)


def test_expressions_of_v1_are_tokens() -> None:
    assert parse_row([-1, 1, "nn.Conv2d", ["na  * (nc + 5)", 1, 1]], "m").arguments == ("na * (nc + 5)", 1, 1)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("nn.SiLU()", "SiLU"),
        ("torch.nn.ReLU6(inplace=True)", "ReLU6"),
        ("Hardswish", "Hardswish"),
        ("nn.LeakyReLU(0.1, inplace=True)", "LeakyReLU(0.1)"),
        ("nn.LeakyReLU(negative_slope=0.1)", "LeakyReLU(0.1)"),
        ("nn.LeakyReLU()", "LeakyReLU"),
    ],
)
def test_activations_as_people_write_them(text: str, name: str) -> None:
    assert parse_activation(text, "m") == name
    assert name in ACTIVATIONS


def test_architecture_checks_itself() -> None:
    plain = architecture("tiny")
    for changes in (
        {"rows": ()},
        {"rows": list(plain.rows)},
        {"rows": (1,)},
        {"backbone_rows": 99},
        {"classes": 0},
        {"classes": 100_001},
        {"bn_eps": 0.0},
        {"anchors_px": [[[1, 2]]]},
        {"anchors_px": 0},
        {"activation": "Sigmoid"},
        {"anchor_grid": 1},
        {"name": ""},
        {"class_prior_offset": 1.0},
    ):
        with pytest.raises(ModelError):
            replace(plain, **changes)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="must be tuples"):
        Row([-1], 1, "Conv", (64,))  # type: ignore[arg-type]


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, entry in items for found in _paths(entry, (*path, key)))]


_DOCUMENT = architecture("yolov5s@v1.0").to_dict()
_PATHS = [path for path in _paths(_DOCUMENT) if path]
_ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-3, 40)
    | st.floats()
    | st.sampled_from(["nc", "anchors", "Conv", "C3", "Concat", "Detect", "Upsample", "nearest"])
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(_PATHS), _ANYTHING), min_size=1, max_size=3))
def test_a_damaged_architecture_is_refused_or_planned(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    """Whatever a stranger writes: a ModelError, or layers within the bounds; never another exception."""
    document = copy.deepcopy(_DOCUMENT)
    for path, value in changes:
        place: Any = document
        try:
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change removed this place
    try:
        layers = plan(Architecture.from_dict(document))
    except ModelError:
        return
    assert all(layer.out_channels >= 1 and 1 <= layer.stride <= 1024 for layer in layers)
    assert all(source < layer.index for layer in layers for source in layer.sources)
