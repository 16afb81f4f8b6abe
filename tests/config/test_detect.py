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
        ("vid_stride", 0),
        ("stream_retries", -2),
        ("stream_timeout", 0),
        ("fourcc", "toolong"),
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


def test_one_or_several_weights():
    values = {"source": "s"}
    assert DetectConfig.parse(values).weights == ()
    assert DetectConfig.parse({**values, "weights": "a.pt"}).weights == ("a.pt",)
    assert DetectConfig.parse({**values, "weights": ["a.pt", "b.pt"]}).weights == ("a.pt", "b.pt")


@pytest.mark.parametrize(
    ("values", "flags"),
    [
        ({"output": "out", "project": "elsewhere"}, "--output and --project or --name"),
        ({"output": "out", "name": "mine"}, "--output and --project or --name"),
        ({"half": True, "precision": "bf16"}, "--half and --precision bf16"),
    ],
)
def test_contradictions(values, flags):
    with pytest.raises(ConfigError, match=f"{flags} contradict each other: give one of them"):
        DetectConfig.parse({"source": "s", **values})


def test_what_says_the_same_is_no_contradiction():
    DetectConfig.parse({"source": "s", "half": True, "precision": "fp16"})
    config = DetectConfig.parse({"source": "s", "output": "out"})
    assert DetectConfig.parse(config.model_dump()) == config


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


def test_flags_of_object_tracking_need_it():
    for flag, value in (("track_low", 0.2), ("track_lost_seconds", 3), ("track_any_class", True)):
        name = flag.replace("_", "-")
        with pytest.raises(ConfigError, match=f"--{name} says how objects are tracked: add --track"):
            DetectConfig.parse({"source": "s", flag: value})
        assert getattr(DetectConfig.parse({"source": "s", flag: value, "track": True}), flag) == value


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("track_high", 1.5),
        ("track_low", -0.1),
        ("track_lost_seconds", -1),
        ("track_frame_rate", 0),
        ("track_trail_seconds", 61),
    ],
)
def test_ranges_of_object_tracking(flag, value):
    with pytest.raises(ConfigError, match=flag):
        DetectConfig.parse({"source": "s", "track": True, flag: value})
