"""Files that were exported with maps of layers answer as the checkpoint does: the same maps, origins and vectors."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.export.exported_files import ExportedFiles, pictures
from tests.export.test_verify import change_contract
from tests.flow.without_torch import BLOCK_TORCH
from vedette.cli.app import main
from vedette.config.export import VerifyConfig
from vedette.core.letterbox import LetterboxPolicy
from vedette.core.nms import NmsSettings
from vedette.errors import ModelError
from vedette.export.verify import verify
from vedette.infer.picture_writers import feature_writer
from vedette.infer.predictor import Predictor
from vedette.infer.provenance import decode_boxes

FORMATS = ("torchscript", "openvino", "onnx")
LAYERS = ("box", "backbone.p3")
NMS = NmsSettings(conf_threshold=0.4, max_detections=40)

# Float32 sums in another order, amplified by weights that find something in anything; parts of the greatest value.
TOLERANCE = 2e-4


def shown(exports: ExportedFiles, name: str) -> Path:
    """A file that shows layers; two frames at once, so that batches are filled up. Of ONNX there is one more."""
    return exports.path(name, features=LAYERS, batch_size=1 if name == "onnx" else 2)


def predictors(exports: ExportedFiles, name: str) -> tuple[Predictor, Predictor]:
    """Of a file, and of its checkpoint."""
    found = Predictor.from_file(shown(exports, name), device="cpu", nms=NMS)
    expected = Predictor.from_file(exports.weights, device="cpu", nms=NMS)
    return found, expected.with_settings(letterbox=found.letterbox)


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


@pytest.mark.parametrize("name", FORMATS)
def test_maps_are_those_of_the_checkpoint(name, exports) -> None:
    """Letterboxed, and in batches of which the last is filled up."""
    found, expected = predictors(exports, name)
    layers = ["neck.p3", 4, "backbone.p3", 23]
    maps, wanted = (predictor.features(pictures(3), layers) for predictor in (found, expected))
    assert list(maps) == layers
    for layer in layers:
        assert len(maps[layer]) == 3
        for one, other in zip(maps[layer], wanted[layer], strict=True):
            assert_close(one, other)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("kind", "layer"), [("cell", None), ("roi", None), ("roi", "backbone.p3")])
def test_boxes_know_where_they_come_from(name, kind, layer, exports) -> None:
    """Decoding the returned logits gives the boxes bit for bit, and the boxes of a call without features."""
    found, expected = predictors(exports, name)
    results = found.predict(pictures(3), features=kind, feature_layer=layer)
    theirs = expected.predict(pictures(3), features=kind, feature_layer=layer)
    for plain, one, other in zip(found.predict(pictures(3)), results, theirs, strict=True):
        assert len(one) > 10
        np.testing.assert_array_equal(decode_boxes(one.provenance), one.boxes_xyxy_px)
        np.testing.assert_array_equal(plain.boxes_xyxy_px, one.boxes_xyxy_px)
        np.testing.assert_array_equal(plain.scores, one.scores)
        mine, wanted = by_place(one.provenance), by_place(other.provenance)
        assert len(set(mine) & set(wanted)) > 0.9 * len(wanted)  # of almost equal scores the other may stay
        for place in set(mine) & set(wanted):
            (logits, vector), (expected_logits, expected_vector) = mine[place], wanted[place]
            np.testing.assert_allclose(logits, expected_logits, atol=5e-3)
            np.testing.assert_allclose(vector, expected_vector, atol=5e-3 * np.abs(expected_vector).max())


def by_place(origin: object) -> dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]]:
    places = zip(origin.levels, origin.anchors, *origin.cells_xy.T, strict=True)
    rows = zip(origin.logits, origin.features, strict=True)
    return dict(zip((tuple(map(int, place)) for place in places), rows, strict=True))


def test_other_logits_are_another_box(exports) -> None:
    """The control."""
    found, _ = predictors(exports, "torchscript")
    (one,) = found.predict(pictures(1), features="cell")
    moved = replace(one.provenance, logits=one.provenance.logits + np.float32(1e-3))
    assert (decode_boxes(moved) != one.boxes_xyxy_px).any()


def test_a_file_without_them_says_how_to_get_them(exports) -> None:
    predictor = Predictor.from_file(exports.path("torchscript"), device="cpu")
    for ask in (
        lambda: predictor.features(pictures(1), [17]),
        lambda: predictor.predict(pictures(1), features="cell"),
    ):
        with pytest.raises(ModelError, match="shows no maps of layers; export it with --features box"):
            ask()


def test_a_file_has_the_layers_it_was_exported_with(exports) -> None:
    predictor = Predictor.from_file(
        exports.path("torchscript", features=("backbone.p3",)), device="cpu", nms=NMS
    )
    (one,) = predictor.predict(pictures(1), features="roi", feature_layer=4)
    assert len(one.provenance) > 10
    for ask in (
        lambda: predictor.features(pictures(1), ["neck.p4"]),
        lambda: predictor.predict(pictures(1), features="cell"),
        lambda: predictor.predict(pictures(1), features="roi"),
    ):
        with pytest.raises(
            ModelError, match=r"no map of that layer; it has 4 = backbone\.p3; export it again"
        ):
            ask()


def test_visualize_draws_the_layers_that_are_there(exports, tmp_path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    source = exports.folder / "source.png"
    import cv2

    cv2.imwrite(str(source), pictures(1)[0])
    arguments = [
        "--source",
        str(source),
        "--visualize",
        "--project",
        str(tmp_path),
        "--device",
        "cpu",
        "--nosave",
    ]
    assert main(["detect", "--weights", str(shown(exports, "openvino")), *arguments]) == 0
    drawn = sorted(path.name for path in (tmp_path / "exp" / "features").rglob("*.png"))
    assert drawn == ["layer_04.png", "layer_17.png", "layer_20.png", "layer_23.png"]
    predictor = Predictor.from_file(exports.path("openvino"), device="cpu")
    with (
        pytest.raises(ModelError, match=r"--visualize: .* --features box"),
        feature_writer(folder, predictor),
    ):
        pass


READ = """
import json
import numpy as np
import vedette
predictor = vedette.load(sys.argv[1], conf_threshold=0.4, max_detections=40)
image = np.load(sys.argv[2])
(found,) = predictor.predict([image], features="roi", feature_layer="backbone.p3")
(drawn,) = predictor.features([image], ["neck.p3"])["neck.p3"]
print(json.dumps([found.boxes_xyxy_px.tolist(), [v.tolist() for v in found.provenance.features], drawn.tolist()]))
"""


def test_torch_is_not_needed(exports, tmp_path) -> None:
    """The same bits as in a process that has it."""
    path = shown(exports, "onnx")
    np.save(tmp_path / "image.npy", pictures(1)[0])
    command = [sys.executable, "-c", BLOCK_TORCH + READ, str(path), str(tmp_path / "image.npy")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found, _ = predictors(exports, "onnx")
    (one,) = found.predict(pictures(1), features="roi", feature_layer="backbone.p3")
    (drawn,) = found.features(pictures(1), ["neck.p3"])["neck.p3"]
    boxes, vectors, values = json.loads(done.stdout)
    np.testing.assert_array_equal(np.array(boxes, np.float32), one.boxes_xyxy_px)
    np.testing.assert_array_equal(np.array(vectors, np.float32), np.stack(one.provenance.features))
    np.testing.assert_array_equal(np.array(values, np.float32), drawn)


def test_any_batch_and_size(exports) -> None:
    predictor = Predictor.from_file(
        exports.path("torchscript", features=LAYERS, dynamic="all"), device="cpu", nms=NMS
    ).with_settings(letterbox=LetterboxPolicy(size_hw=(128, 160), shape="minimal"))
    expected = Predictor.from_file(exports.weights, device="cpu").with_settings(letterbox=predictor.letterbox)
    for one, other in zip(
        predictor.features(pictures(4), ["neck.p4"])["neck.p4"],
        expected.features(pictures(4), ["neck.p4"])["neck.p4"],
        strict=True,
    ):
        assert_close(one, other)


# ------------------------------------------------------------------------------------------------------- verify


def problems_of(path: Path) -> list[str]:
    return [text for text in verify(VerifyConfig(file=str(path))).problems if text.startswith("feature maps")]


@pytest.mark.parametrize("name", FORMATS)
def test_verify_compares_the_maps(name, exports) -> None:
    result = verify(VerifyConfig(file=str(shown(exports, name))))
    assert result.passed
    assert list(result.features) == [
        "backbone.p3 = layer 4",
        "neck.p3 = layer 17",
        "neck.p4 = layer 20",
        "neck.p5 = layer 23",
    ]
    assert 0 < max(result.features.values()) < 1e-4


def change_output(path: Path, output: str, change: object) -> None:
    """Put something between the graph and one of its outputs."""
    model = onnx.load(path)
    for node in model.graph.node:
        for number, made in enumerate(node.output):
            if made == output:
                node.output[number] = "unchanged"
        for number, read in enumerate(node.input):
            if read == output:
                node.input[number] = "unchanged"
    model.graph.node.extend(change(output))
    onnx.save(model, path)


def scaled(output: str) -> list[onnx.NodeProto]:
    factor = numpy_helper.from_array(np.array(1.01, np.float32))
    return [
        onnx.helper.make_node("Constant", [], ["factor"], value=factor),
        onnx.helper.make_node("Mul", ["unchanged", "factor"], [output]),
    ]


def swapped(output: str) -> list[onnx.NodeProto]:
    """Two halves of the channels change places."""
    return [
        onnx.helper.make_node("Split", ["unchanged"], ["low", "high"], axis=1, num_outputs=2),
        onnx.helper.make_node("Concat", ["high", "low"], [output], axis=1),
    ]


@pytest.mark.parametrize("change", [scaled, swapped])
def test_a_changed_map_fails_though_the_boxes_are_right(change, exports, tmp_path) -> None:
    source = shown(exports, "onnx")
    path = tmp_path / source.name
    path.write_bytes(source.read_bytes())
    assert problems_of(path) == []
    change_output(path, "layer17", change)
    result = verify(VerifyConfig(file=str(path)))
    assert len(result.problems) == 1
    assert result.problems[0].startswith("feature maps: neck.p3 = layer 17 differs by ")
    assert main(["verify", str(path)]) == 2
    loose = VerifyConfig(file=str(path), max_feature_difference=1.0)
    assert verify(loose).passed is (change is scaled)


def test_maps_under_wrong_names_fail(exports, tmp_path) -> None:
    """The contract says that two maps of one size lie the other way round."""
    source = shown(exports, "onnx")
    path = tmp_path / source.name
    path.write_bytes(source.read_bytes())

    def change(contract):
        four, seventeen, *others = contract.features.maps
        channels = {shown.channels for shown in (four, seventeen)}
        assert len(channels) == 1, "else the shape would give it away"
        exchanged = (
            replace(four, layer=4, names=seventeen.names),
            replace(seventeen, names=four.names),
            *others,
        )
        return replace(contract, features=replace(contract.features, maps=exchanged))

    change_contract(path, change, fingerprint=False)
    assert (
        "contract: it was changed after the golden detections were made"
        in verify(VerifyConfig(file=str(path))).problems
    )
    change_contract(path, lambda contract: contract)
    assert (
        "contract: its feature maps are not those of the checkpoint"
        in verify(VerifyConfig(file=str(path), weights=str(exports.weights))).problems
    )


# ------------------------------------------------------------------------------------------------------- export


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--format", "ncnn"], "ncnn cannot be written with maps of layers; its files are for detection"),
        (["--format", "torch-export"], "torch-export cannot be written with maps of layers"),
        (["--format", "onnx", "--nms"], "a file that gives detections has lost the logits"),
        (
            ["--format", "onnx", "--outputs", "predictions"],
            "a file that gives predictions has lost the logits",
        ),
        (["--format", "torchscript", "--features", "neck.p9"], "layers: neck.p9: no feature of that name"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    options, text, exports, tmp_path, capsys
) -> None:
    arguments = ["--weights", str(exports.weights), "--output", str(tmp_path), "--features", *options]
    assert main(["export", *arguments]) == 2
    assert text in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_flag_alone_means_box(exports, tmp_path, capsys) -> None:
    arguments = ["--weights", str(exports.weights), "--output", str(tmp_path), "--format", "torchscript"]
    assert main(["export", *arguments, "--features"]) == 0
    assert "neck.p3 = layer 17" in capsys.readouterr().out
    predictor = Predictor.from_file(tmp_path / "small.torchscript", device="cpu")
    assert predictor.backend.shown_layers == predictor.backend.level_inputs == (17, 20, 23)
