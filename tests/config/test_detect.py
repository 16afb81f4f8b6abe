import pytest

from vedette.config.detect import DetectConfig
from vedette.errors import ConfigError


def test_published_defaults():
    """Specification inference.md section 5."""
    config = DetectConfig.parse({"weights": "w", "source": "s"})
    assert (config.conf_threshold, config.iou_threshold, config.max_detections) == (0.25, 0.45, 300)
    assert (config.project, config.name, config.exist_ok) == ("runs/detect", "exp", False)
    assert (config.classes, config.agnostic_nms, config.device) == (None, False, "")
    assert not config.nosave
    assert not config.save_txt


def test_words_of_a_command_line_are_understood():
    config = DetectConfig.parse(
        {"weights": "w", "source": ["a", "b"], "image_size": ["384", "640"], "classes": ["0", "2"]}
    )
    assert config.source == ("a", "b")
    assert config.image_size == (384, 640)
    assert config.classes == (0, 2)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("source", []),
        ("source", 3),
        ("conf_threshold", 1.5),
        ("batch_size", -1),
        ("classes", [-1]),
        ("precision", "int8"),
        ("line_width", -1),
        ("conf_thresold", 0.3),
    ],
)
def test_values_that_make_no_sense_are_refused(key, value):
    with pytest.raises(ConfigError, match=key):
        DetectConfig.parse({"weights": "w", "source": "s", key: value})


def test_file_round_trip(tmp_path):
    config = DetectConfig.parse({"weights": "w", "source": "s", "image_size": 320, "classes": [1]})
    path = tmp_path / "detect.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert DetectConfig.load(path) == config


def test_every_flag_is_named_once():
    flags = [
        flag
        for name, entry in DetectConfig.model_fields.items()
        for flag in (entry.json_schema_extra or {"flags": ["--" + name.replace("_", "-")]})["flags"]
    ]
    assert len(flags) == len(set(flags))
    published = {
        "--weights",
        "--source",
        "--img-size",
        "--conf-thres",
        "--iou-thres",
        "--device",
        "--save-txt",
    }
    published |= {
        "--save-conf",
        "--classes",
        "--agnostic-nms",
        "--project",
        "--name",
        "--exist-ok",
        "--nosave",
    }
    assert published <= set(flags)
    assert all(entry.description for entry in DetectConfig.model_fields.values())
