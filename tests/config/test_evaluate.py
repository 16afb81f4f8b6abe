from __future__ import annotations

import pytest

from vedette.config.evaluate import EvaluateConfig
from vedette.errors import ConfigError


def test_published_names_are_flags() -> None:
    flags = set()
    for name, field in EvaluateConfig.model_fields.items():
        assert field.description, name
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        flags |= set(extra.get("flags", [f"--{name.replace('_', '-')}"]))
    published = (
        "--weights --data --batch-size --img-size --conf-thres --iou-thres --task --device --single-cls "
        "--verbose --save-json --project --name --exist-ok"
    )
    assert set(published.split()) <= flags
    assert {"--img", "--batch", "--conf", "--iou", "--split", "--protocol", "--json"} <= flags


@pytest.mark.parametrize(
    ("given", "expected"), [(None, None), ("640", (640, 640)), ("384x640", (384, 640)), ([320], (320, 320))]
)
def test_sizes(given: object, expected: object) -> None:
    assert EvaluateConfig.parse({"image_size": given}).image_size == expected


@pytest.mark.parametrize(
    ("key", "value"),
    [("conf_threshold", 1.5), ("batch_size", 0), ("protocol", "coco"), ("workers", 0), ("split", "study")],
)
def test_values_out_of_range_name_their_key(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=key):
        EvaluateConfig.parse({key: value})
