from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tests.model.filling import read_golden
from vedette.errors import ModelError
from vedette.model.plan import head_strides, plan, scaled_channels, scaled_repeats
from vedette.model.releases import architecture
from vedette.model.rows import Argument, Row


def test_scaling_rules() -> None:
    """golden geometry.json, make_divisible and depth."""
    golden = read_golden("geometry.json")
    for case in golden["make_divisible"]:
        assert scaled_channels(case["x"], divisor=case["d"]) == case["out"]
    for case in golden["depth"]:
        assert scaled_repeats(case["n"], case["gd"]) == case["out"]


def test_repeats_round_half_to_even() -> None:
    assert [scaled_repeats(n, 0.5) for n in (1, 2, 3, 5, 7)] == [1, 1, 2, 2, 4]


def test_v4_layers() -> None:
    """Specification model.md section 2, size m."""
    layers = plan(architecture("yolov5m"))
    assert [layer.repeats for layer in layers if layer.module == "C3"] == [2, 6, 6, 2, 2, 2, 2, 2]
    widths = [48, 96, 96, 192, 192, 384, 384, 768, 768, 768, 384, 384, 768, 384, 192, 192, 384, 192]
    assert [layer.out_channels for layer in layers[:18]] == widths
    assert [layer.stride for layer in layers[:18]] == [
        2,
        4,
        4,
        8,
        8,
        16,
        16,
        32,
        32,
        32,
        32,
        16,
        16,
        16,
        16,
        8,
        8,
        8,
    ]
    assert layers[24].sources == (17, 20, 23)
    assert head_strides(layers) == (8, 16, 32)


def test_v1_output_rows() -> None:
    layers = plan(architecture("yolov5s@v1.0", classes=3))
    assert [layers[i].out_channels for i in (18, 22, 26)] == [24, 24, 24]
    assert layers[19].sources == (17,)
    assert head_strides(layers) == (32, 16, 8)


def with_row(index: int, row: Row) -> ModelError:
    plain = architecture("yolov5s")
    rows = list(plain.rows)
    rows[index] = row
    with pytest.raises(ModelError) as caught:
        plan(replace(plain, rows=tuple(rows)))
    return caught.value


@pytest.mark.parametrize(
    ("index", "source", "repeats", "module", "arguments", "text"),
    [
        (1, (1,), 1, "Conv", (128, 3, 2), "'from' 1 is no earlier layer"),
        (1, (-3,), 1, "Conv", (128, 3, 2), "'from' -3 is no earlier layer"),
        (1, (-2,), 1, "Conv", (128, 3, 2), "'from' -2 is no earlier layer"),
        (1, (-1, 0), 1, "Conv", (128, 3, 2), "reads one layer, not 2"),
        (1, (-1,), 1, "Conv", (), "takes the number of channels"),
        (1, (-1,), 1, "Conv", ("nc", 3, 2), "channels: must be a whole number"),
        (1, (-1,), 1, "Conv", (True, 3, 2), "channels: must be a whole number"),
        (1, (-1,), 1, "Conv", (128, 3.0, 2), "kernel: must be a whole number"),
        (
            1,
            (-1,),
            1,
            "Conv",
            (128, 3, 2, None, 1, 1),
            "takes at most channels, kernel, stride, padding, groups",
        ),
        (1, (-1,), 1, "Conv", (128, 3, 2, 0), "do not divide the size evenly"),
        (1, (-1,), 1, "Conv", (128, 2, 1), "do not divide the size evenly"),
        (1, (-1,), 1, "Conv", (128, 3, 2, 1, 3), "do not fall into 3 groups"),
        (1, (-1,), 9, "Conv", (128, 3, 1), "cannot be repeated: it turns 32 channels into 64"),
        (1, (-1,), 1, "Conv", (0, 3, 2), "channels: must be a whole number"),
        (1, (-1,), 1, "Conv", (65536, 1, 1), "more than a picture can hold"),
        (2, (-1,), 3, "C3", (128, 1), "shortcut: must be true or false"),
        (2, (-1,), 3, "C3", (128, True, 3), "do not fall into 3 groups"),
        (2, (-1,), 3, "C3", (128, True, 1, 0.01), "hidden channels"),
        (8, (-1,), 1, "SPP", (1024, (4, 9)), "must be odd"),
        (11, (-1,), 1, "Upsample", (None, 2, None), "takes the arguments None, a whole factor, nearest"),
        (11, (-1,), 1, "Upsample", (None, 3, "nearest"), "cannot enlarge stride 32 by 3"),
        (11, (-1,), 1, "Upsample", (None, 0, "nearest"), "factor: must be a whole number"),
        (12, (-1, 4), 1, "Concat", (1,), r"different strides \[16, 8\]"),
        (12, (-1, 6), 1, "Concat", (2,), "the channel dimension"),
        (12, (-1, 6), 9, "Concat", (1,), "cannot be repeated"),
        (24, (17, 20), 1, "Detect", ("nc", "anchors"), "has 2 inputs but anchors for 3 levels"),
        (24, (17, 20, 23), 1, "Detect", ("nc",), "takes the arguments nc, anchors"),
        (24, (-1,), 3, "C3", (64,), "the last row, and no other, must be Detect"),
        (23, (17, 20, 22), 1, "Detect", ("nc", "anchors"), "the head"),
    ],
)
def test_rows_that_do_not_fit(
    index: int, source: tuple[int, ...], repeats: int, module: str, arguments: tuple[Argument, ...], text: str
) -> None:
    error = with_row(index, Row(source, repeats, module, arguments))
    assert re.search(text, str(error)), str(error)
    if "head" not in text and "last row" not in text:
        assert error.where.startswith(f"yolov5s: row {index}: {module}")


def test_too_many_blocks() -> None:
    plain = architecture("tiny")
    rows = (plain.rows[0], *(Row((-1,), 100, "C3", (64,)) for _ in range(30)), *plain.rows[1:])
    with pytest.raises(ModelError, match="blocks, more than 2000"):
        plan(replace(plain, rows=_shifted(rows, 30), depth_multiple=1.0))


def _shifted(rows: tuple[Row, ...], by: int) -> tuple[Row, ...]:
    return tuple(replace(row, source=tuple(s + by if s > 0 else s for s in row.source)) for row in rows)


def test_the_output_width_is_not_scaled() -> None:
    """Specification model.md section 1: a channel count of na * (nc + 5) stays as it is."""
    plain = architecture("yolov5s", classes=59)  # 3 * (59 + 5) = 192
    rows = list(plain.rows)
    rows[1] = replace(rows[1], arguments=(192, 3, 2))
    assert plan(replace(plain, rows=tuple(rows)))[1].out_channels == 192
    assert plan(replace(plain, rows=tuple(rows), classes=60))[1].out_channels == 96


def test_repeated_rows_repeat_their_stride() -> None:
    plain = architecture("tiny")
    rows = [
        Row((-1,), 1, "Conv", (64, 1, 1)),
        Row((-1,), 9, "Conv", (64, 3, 2)),
        Row((-1,), 1, "Detect", ("nc", "anchors")),
    ]
    layers = plan(replace(plain, rows=tuple(rows), backbone_rows=0, anchors_px=3))
    assert (layers[1].repeats, layers[1].stride) == (3, 8)
