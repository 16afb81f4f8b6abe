import pytest

from tests.infer.colour_backend import colour_predictor
from vedette.checkpoint.deployable import save_detector
from vedette.config.detect import DetectConfig
from vedette.core.letterbox import LetterboxPolicy
from vedette.errors import UsageError
from vedette.infer.configured import configured_predictor
from vedette.model.detector import build_detector


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "best.safetensors"
    detector = build_detector("tiny", classes=2, seed=3)
    save_detector(
        path, detector, class_names=("red", "blue"), letterbox=LetterboxPolicy(size_hw=(96, 96)), metadata={}
    )
    return str(path)


def config(weights, **values):
    return DetectConfig.parse({"weights": weights, "source": "unused", "device": "cpu", **values})


def description(tmp_path, names):
    (tmp_path / "pictures").mkdir(exist_ok=True)
    path = tmp_path / "data.yaml"
    path.write_text(f"train: pictures\nnames: {names}\n", encoding="utf-8")
    return str(path)


def test_what_the_settings_say_is_what_the_predictor_has(weights):
    predictor = configured_predictor(
        config(
            weights, conf_threshold=0.4, iou_threshold=0.6, max_detections=7, classes=[1], agnostic_nms=True
        )
    )
    nms = predictor.nms
    assert (nms.conf_threshold, nms.iou_threshold, nms.max_detections) == (0.4, 0.6, 7)
    assert (nms.class_ids, nms.agnostic) == ((1,), True)
    assert predictor.letterbox.size_hw == (96, 96)
    sized = configured_predictor(config(weights, image_size=64, letterbox="minimal"), predictor)
    assert (sized.letterbox.size_hw, sized.letterbox.shape) == ((64, 64), "minimal")
    assert sized.backend is predictor.backend


def test_names_of_a_data_set_must_be_those_of_the_weights(tmp_path, weights):
    assert configured_predictor(config(weights, data=description(tmp_path, "[red, blue]"))).class_names == (
        "red",
        "blue",
    )
    with pytest.raises(UsageError, match=r"data\.yaml: has 3 classes, and the weights have 2"):
        configured_predictor(config(weights, data=description(tmp_path, "[red, blue, green]")))
    with pytest.raises(UsageError, match="calls class 1 'green', and the weights call it 'blue'"):
        configured_predictor(config(weights, data=description(tmp_path, "{0: red, 1: green}")))
    with pytest.raises(UsageError, match="has 3 classes"):
        configured_predictor(
            config("unused", data=description(tmp_path, "[red, blue, green]")), colour_predictor()
        )


def test_half_on_a_cpu_is_float32_and_says_so(weights, caplog):
    predictor = configured_predictor(config(weights, half=True))
    assert predictor.backend.precision == "float32"
    assert caplog.messages == [
        "--half: a CPU has no fast float16, so float32 is used; --precision bf16 may be faster"
    ]
