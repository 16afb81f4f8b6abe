"""Whole files: those of the releases are read, all others refused, and no mutation does anything else."""

from __future__ import annotations

import copy
import csv
import dataclasses
import json
import math
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.checkpoint.legacy import archives
from tests.checkpoint.legacy.archives import SYSTEM, call, dictionary, program, storage, stored, tensor, text
from tests.checkpoint.legacy.published import (
    CLASSES,
    assert_same_state,
    filled_detector,
    published_network,
    save,
    save_release,
    small_architecture,
    training_entries,
)
from tests.conftest import GOLDEN, REPOSITORY
from vedette.checkpoint.legacy.read import read_legacy
from vedette.errors import CheckpointError
from vedette.model.detector import Detector, build_detector
from vedette.model.fuse import fuse
from vedette.model.releases import RELEASES, architecture
from vedette.model.rows import parse_architecture

RELEASE_NAMES = ("v1.0", "v3.1", "v4.0", "v7.0")


@pytest.fixture(scope="module")
def detectors() -> dict[str, Detector]:
    return {release: filled_detector(small_architecture(release)) for release in RELEASE_NAMES}


def refusal(path: Path, content: bytes | None = None) -> str:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_legacy(path)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


# ------------------------------------------------------------------------------------------------ what is read


@pytest.mark.parametrize("stream", [False, True], ids=["zip", "stream"])
@pytest.mark.parametrize("stripped", [False, True], ids=["training", "stripped"])
@pytest.mark.parametrize("release", RELEASE_NAMES)
def test_releases(
    tmp_path: Path, detectors: dict[str, Detector], release: str, stripped: bool, stream: bool
) -> None:
    detector = detectors[release]
    half = stripped or release == "v7.0"
    found = read_legacy(save_release(tmp_path / "small.pt", detector, stripped=stripped, stream=stream))
    assert_same_state(found.tensors, detector, half=half)
    assert found.class_names == ("cat", "dog")
    assert found.architecture.rows == detector.architecture.rows
    if not half:
        assert found.architecture == detector.architecture
    facts = found.facts
    assert facts["release"] == release
    assert facts["precision"] == ("float16" if half else "float32")
    assert facts["epoch"] == (-1 if stripped else 11)
    assert facts["fitness"] == (None if stripped and release == "v7.0" else 0.4375)
    assert facts["weights"] == ("ema" if release == "v7.0" and not stripped else "model")
    assert facts["container"].startswith("stream" if stream else "zip")
    if release == "v7.0":
        assert (facts["date"], facts["image_size"]) == ("2023-01-02T03:04:05.000006", 416)
        assert {"opt", "git"} <= set(facts["ignored"])
    assert ("optimizer" in facts["ignored"]) == (not stripped)


@pytest.mark.parametrize("release", RELEASE_NAMES)
def test_raw_levels_are_those_of_the_model_it_was_made_from(
    tmp_path: Path, detectors: dict[str, Detector], release: str
) -> None:
    detector = copy.deepcopy(detectors[release])
    half = release == "v7.0"
    if half:
        detector.load_state_dict(
            {k: v.half().float() if v.is_floating_point() else v for k, v in detector.state_dict().items()}
        )
    found = read_legacy(save_release(tmp_path / "small.pt", detector))
    imported = Detector(found.architecture).eval()
    imported.load_state_dict(found.tensors)
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, levels = detector(images), imported(images)
        assert all(torch.equal(a, b) for a, b in zip(expected, levels, strict=True))
        assert torch.equal(detector.head.decode(expected), imported.head.decode(levels))


def test_v1_levels_are_those_of_the_layout_of_v3(tmp_path: Path) -> None:
    """Specification model.md section 8: the key map of v1.0 onto 25 rows gives the same levels, reversed."""
    detector = filled_detector(architecture("yolov5s@v1.0", classes=1))
    found = read_legacy(save_release(tmp_path / "old.pt", detector, stripped=False, names=None))
    old = Detector(found.architecture).eval()
    old.load_state_dict(found.tensors)
    rows = {19: 18, 20: 19, 21: 20, 23: 21, 24: 22, 25: 23, 18: "24.m.0", 22: "24.m.1", 26: "24.m.2", 27: 24}
    state = {}
    for name, value in found.tensors.items():
        _, row, rest = name.split(".", 2)
        reverse = rest in ("anchors", "anchor_grid")
        state[f"model.{rows.get(int(row), row)}.{rest}"] = value.flip(0) if reverse else value
    rules: dict[str, Any] = {"activation": "LeakyReLU(0.1)", "bn_eps": 1e-4}
    new = Detector(dataclasses.replace(architecture("yolov5s@v3.1", classes=1), **rules)).eval()
    new.load_state_dict(state)
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(old(images), reversed(new(images)), strict=True))
    assert found.class_names == ("class 0",)


@pytest.mark.parametrize("name", ["tiny", "yolov5n6@v7.0"])
def test_published_tables(tmp_path: Path, name: str) -> None:
    """Of all sizes the table alone differs; the levels of P6 are four."""
    detector = build_detector(name, classes=3)
    found = read_legacy(save_release(tmp_path / "m.pt", detector, names={0: "a", 1: "b", 2: "ä"}))
    assert found.class_names == ("a", "b", "ä")
    assert found.architecture.rows == detector.architecture.rows
    assert_same_state(found.tensors, detector, half=name.endswith("v7.0"))


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("state_dict_yolov5s_v1.csv", "yolov5s@v1.0"),
        ("state_dict_yolov5s_v3.1.csv", "yolov5s@v3.1"),
        ("state_dict_yolov5s_v4.csv", "yolov5s@v4.0"),
        ("state_dict_yolov5s_v7.csv", "yolov5s@v7.0"),
    ],
)
def test_plain_state_dicts_with_the_published_names(tmp_path: Path, file: str, name: str) -> None:
    """Names, shapes and types of golden state_dicts/*.csv, without any network; and with a prefix and counters."""
    with (GOLDEN / "state_dicts" / file).open(encoding="utf-8", newline="") as lines:
        rows = [(row["key"], row["shape"], row["dtype"]) for row in csv.DictReader(lines)]
    shapes = [() if shape == "scalar" else tuple(map(int, shape.split("x"))) for _, shape, _ in rows]
    types = [torch.int64 if dtype == "int64" else torch.float16 for _, _, dtype in rows]
    state = {
        key: torch.zeros(shape, dtype=t) for (key, _, _), shape, t in zip(rows, shapes, types, strict=True)
    }
    found = read_legacy(save(tmp_path / "sd.pt", state))
    assert list(found.tensors) == [key for key, _, _ in rows]
    assert found.architecture.release == name.partition("@")[2]
    assert found.architecture.rows == architecture(name).rows
    assert found.architecture.classes == 80
    assert found.class_names[79] == "class 79"


def test_plain_state_dict_values(tmp_path: Path) -> None:
    detector = filled_detector(architecture("tiny", classes=4))
    state = {f"module.{name}": tensor for name, tensor in detector.state_dict().items()}
    state["module.total_ops"] = torch.zeros(1, dtype=torch.float64)
    found = read_legacy(save(tmp_path / "sd.pt", {"state_dict": state, "epoch": 3}, stream=True))
    assert_same_state(found.tensors, detector)
    assert (found.facts["epoch"], found.facts["weights"]) == (3, "state_dict")


def test_plain_state_dict_of_an_edited_table_needs_its_file(tmp_path: Path) -> None:
    import yaml

    from tests.checkpoint.legacy.published import settings_of

    detector = filled_detector(small_architecture("v4.0"))
    path = save(tmp_path / "sd.pt", detector.state_dict())
    assert "name the model file of its layers with --cfg" in refusal(path)
    model = tmp_path / "small.yaml"
    model.write_text(yaml.safe_dump(settings_of(detector.architecture)), encoding="utf-8")
    found = read_legacy(path, table=architecture(str(model)))
    assert_same_state(found.tensors, detector)


@pytest.mark.parametrize("release", ["v3.1", "v4.0"])
def test_fused_networks_become_whole_again(tmp_path: Path, release: str) -> None:
    detector = filled_detector(small_architecture(release))
    fused = fuse(detector)
    network = training_entries(published_network(fused, names=["a", "b"]), release)
    found = read_legacy(save(tmp_path / "fused.pt", network))
    imported = Detector(found.architecture).eval()
    imported.load_state_dict(found.tensors)
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for level, expected in zip(imported(images), fused(images), strict=True):
            torch.testing.assert_close(level, expected, rtol=1e-5, atol=1e-5)


def test_settings_that_a_release_evaluated_in_place(tmp_path: Path) -> None:
    detector = filled_detector(small_architecture("v1.0"))
    network = published_network(detector)
    for line in network.md["head"]:
        line[3] = [21 if argument == "na * (nc + 5)" else argument for argument in line[3]]
    network.md["head"][-1][3] = [2, [[30, 61, 62, 45], [10, 13, 16, 30]]]
    # 2 anchors a level: 14 outputs, whatever the table was written with
    for line in network.md["head"][1:3]:
        line[3][0] = 14
    found = read_legacy(save(tmp_path / "a.pt", training_entries(network, "v1.0")))
    assert_same_state(found.tensors, detector)


def test_anchors_come_from_the_buffers(tmp_path: Path) -> None:
    detector = filled_detector(small_architecture("v4.0"))
    with torch.no_grad():
        detector.head.anchors *= 1.5
        detector.head.get_buffer("anchor_grid").mul_(1.5)
    found = read_legacy(save_release(tmp_path / "a.pt", detector))
    assert_same_state(found.tensors, detector)
    assert torch.tensor(found.architecture.anchors_px).equal(detector.head.anchors_px())


def test_eps_and_activation_come_from_the_modules(tmp_path: Path) -> None:
    rules = {"bn_eps": 1e-5, "activation": "Mish"}
    detector = filled_detector(small_architecture("v4.0", **rules))
    found = read_legacy(save_release(tmp_path / "a.pt", detector))
    assert (found.architecture.bn_eps, found.architecture.activation) == (1e-5, "Mish")


def test_edited_tables(tmp_path: Path) -> None:
    """Other rows, other multiples, four image channels, depthwise convolutions, three anchors a level, one class."""
    values = {
        "nc": 1,
        "ch": 4,
        "depth_multiple": 0.5,
        "width_multiple": 2.0,
        "anchors": 3,
        "backbone": [[-1, 1, "Focus", [8, 3]], [-1, 1, "DWConv", [8, 3, 2]], [-1, 4, "Bottleneck", [8]]],
        "head": [
            [-1, 1, "SPP", [8, [3, 5]]],
            [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
            [[-1, 2], 1, "Detect", ["nc", "anchors"]],
        ],
    }
    rules = {"name": "edited", "release": "v4.0", **RELEASES["v4.0"].rules}
    detector = filled_detector(parse_architecture(values, "edited", rules=rules))
    found = read_legacy(save_release(tmp_path / "a.pt", detector, names=["only"]))
    assert_same_state(found.tensors, detector)
    assert found.architecture.rows == detector.architecture.rows
    assert (found.architecture.channels, found.architecture.classes, found.class_names) == (4, 1, ("only",))


def test_paths_of_another_system_are_text(tmp_path: Path) -> None:
    network = published_network(filled_detector(small_architecture("v4.0")), names=["a", "b"])
    network.yaml_file = "C:\\models\\mine.yaml"
    entries = {**training_entries(network, "v4.0"), "opt": {"save_dir": Path("runs")}}
    for module in (b"PosixPath", b"WindowsPath"):
        path = save(tmp_path / "a.pt", entries)
        records = archives.records_of(path)
        records["data.pkl"] = records["data.pkl"].replace(b"PosixPath", module)
        path.write_bytes(stored(records))
        assert read_legacy(path).architecture.name == "mine"


def test_class_names_that_are_missing(tmp_path: Path) -> None:
    detector = filled_detector(small_architecture("v4.0"))
    for given, expected in (
        (None, ("class 0", "class 1")),
        ([7, "x\x00y"], ("7", "class 1")),
        (["a", "b", "c"], ("a", "b")),
        ({1: "b"}, ("class 0", "b")),
    ):
        assert read_legacy(save_release(tmp_path / "a.pt", detector, names=given)).class_names == expected


# ------------------------------------------------------------------------------------------------ other networks


def changed(tmp_path: Path, change: Any, release: str = "v4.0", root: str = "Model") -> str:
    network = published_network(filled_detector(small_architecture(release)), root, ["a", "b"])
    change(network)
    return refusal(save(tmp_path / "a.pt", training_entries(network, release)))


def test_networks_that_are_no_detectors_of_ours(tmp_path: Path) -> None:
    assert "segmentation model" in changed(tmp_path, lambda network: None, root="SegmentationModel")

    def unknown_block(network: nn.Module) -> None:
        network.model[1].conv.__class__ = CLASSES["Proto"]  # type: ignore[index, union-attr]

    message = changed(tmp_path, unknown_block)
    assert "model.model.1.conv" in message
    assert "models.common.Proto" in message
    assert "Bottleneck, BottleneckCSP, C3, Concat, Conv" in message

    def face(network: nn.Module) -> None:
        network.model[-1].no = 17  # type: ignore[index, union-attr]

    assert "landmarks of faces" in changed(tmp_path, face)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda n: setattr(n.model[1].conv, "stride", (1, 1)),
            "model.1.conv: stride is [1, 1] instead of [2, 2]",
        ),
        (lambda n: setattr(n.model[1].conv, "groups", 2), "model.1.conv: groups"),
        (lambda n: setattr(n.model[2].m[0], "add", False), "model.2.m.0: add is False instead of True"),
        (lambda n: setattr(n.model[2].cv1.bn, "eps", 1e-5), "different eps"),
        (lambda n: setattr(n.model[3], "f", 0), "model.3 reads [0] instead of [-1]"),
        (lambda n: setattr(n.model[2].cv2, "act", nn.ReLU()), "different activations ReLU, SiLU"),
        (lambda n: n.model[2].add_module("more", nn.Identity()), "model.2.more is not in its layer table"),
        (lambda n: n.model[1]._modules.pop("conv"), "model.1.conv is missing"),
        (lambda n: n.model[1].conv.register_buffer("x", torch.zeros(1)), "unknown model.1.conv.x"),
        (lambda n: n.model[1].bn._buffers.pop("running_var"), "missing model.1.bn.running_var"),
        (lambda n: n.model[-1].anchor_grid.mul_(2), "two different sets of anchors"),
        (lambda n: n.yaml["backbone"][1].__setitem__(2, "RepConv"), "the module RepConv"),
        (
            lambda n: n.yaml["backbone"][1].__setitem__(3, [16, 3, 2]),
            "float32 [8, 8, 3, 3] instead of float32 [16, 8, 3, 3]",
        ),
        (lambda n: setattr(n.model[-1], "stride", torch.tensor([4.0, 2.0])), "strides [4.0, 2.0] instead of"),
        (lambda n: delattr(n, "yaml"), "does not say which layers"),
        (
            lambda n: setattr(n.model[1].conv, "weight", nn.Parameter(torch.full((8, 8, 3, 3), math.nan))),
            "NaN or infinity",
        ),
    ],
)
def test_networks_that_contradict_themselves(tmp_path: Path, change: Any, expected: str) -> None:
    assert expected in changed(tmp_path, change)


def test_non_finite_weights_are_read_on_request(tmp_path: Path) -> None:
    network = published_network(filled_detector(small_architecture("v4.0")))
    network.model[1].conv.weight.data[0, 0, 0, 0] = math.inf  # type: ignore[index, union-attr]
    path = save(tmp_path / "a.pt", training_entries(network, "v4.0"))
    assert "--allow-nonfinite" in refusal(path)
    assert read_legacy(path, allow_nonfinite=True).tensors["model.1.conv.weight"][0, 0, 0, 0] == math.inf


# ------------------------------------------------------------------------------------------------ hostile files


def attack(name: str) -> bytes:
    """A file that the probes and payloads of a stranger make, by name."""
    good = {"data.pkl": program(dictionary(model=dictionary(weight=tensor()))), "data/0": b"\0" * 16}
    shell = text("echo >canary")
    model = lambda value: stored({**good, "data.pkl": program(dictionary(model=value))})  # noqa: E731
    deep = program(b"]" * 200_000 + b"a" * 199_999)
    bomb = program(b"]q\x00" + b"".join(b"](h\x00h\x00eq\x00" for _ in range(30)))
    bombs = {
        "os.system": model(SYSTEM + shell + b"\x85R"),
        "eval": model(call("__builtin__", "eval", text("1"))),
        "exec": model(call("builtins", "exec", text("1"))),
        "getattr": model(call("__builtin__", "getattr", text("a"), text("b"))),
        "popen": model(call("subprocess", "Popen", shell)),
        "dotted": model(call("torch.nn.modules.module", "torch.os.system", shell)),
        "dotted-protocol-4": stored(
            {**good, "data.pkl": b"\x80\x04" + text("torch") + text("os.system") + b"\x93."}
        ),
        "newobj": model(SYSTEM + b"(" + shell + b"t\x81"),
        "build": model(call("models.common", "Conv") + SYSTEM + shell + b"\x85Rb"),
        "in-settings": stored(
            {**good, "data.pkl": program(dictionary(opt=call("os", "system", shell), model=b"N"))}
        ),
        "torch.load": model(call("torch.serialization", "load", text("x.pt"))),
        "bytearray": model(call("__builtin__", "bytearray", archives.integer(2**31 - 1))),
        "array": model(
            call("numpy.core.multiarray", "_reconstruct", b"cnumpy\nndarray\n", archives.integer(2**31 - 1))
        ),
        "nested": stored({**good, "data.pkl": deep}),
        "doubled": stored({**good, "data.pkl": bomb}),
        "left-over": stored({**good, "data.pkl": b"\x80\x02NN."}),
        "after-stop": stored({**good, "data.pkl": good["data.pkl"] + b"x"}),
        "stack-global": stored({**good, "data.pkl": program(b"\x93")}),
        "ext": stored({**good, "data.pkl": program(b"\x82\x01")}),
        "compressed": stored(good, method=zipfile.ZIP_DEFLATED),
        "twice": archives.by_hand([(b"a/data.pkl", good["data.pkl"]), (b"a/data.pkl", b"x")]),
        "overlap": _overlapping(good),
        "escape": stored({**good, "../data/1": b""}),
        "absolute": archives.by_hand([(b"/a/data.pkl", good["data.pkl"])]),
        "encrypted": archives.by_hand([(b"a/data.pkl", good["data.pkl"])], flags=1),
        "crc": archives.by_hand([(b"a/data.pkl", good["data.pkl"]), (b"a/data/0", b"\0" * 16)], crc_error=1),
        "longer": stored({**good, "data/0": b"\0" * 17}),
        "shorter": stored({**good, "data/0": b"\0" * 15}),
        "missing": stored({"data.pkl": good["data.pkl"]}),
        "big-endian": stored({**good, "byteorder": b"big"}),
        "stride-0": archives.tensors_file(tensor((10**9,), (0,))),
        "outside": archives.tensors_file(tensor((4,), (1,), 1)),
        "negative-offset": archives.tensors_file(tensor((2,), (1,), -1)),
        "negative-size": archives.tensors_file(tensor((-1,), (1,))),
        "negative-stride": archives.tensors_file(tensor((2,), (-1,), 3)),
        "2^62": archives.tensors_file(tensor((2**62,), (1,))),
        "2^62-storage": archives.tensors_file(tensor(place=storage(count=2**62))),
        "nine-dimensions": archives.tensors_file(tensor((1,) * 9, (1,) * 9)),
        "strange-key": archives.tensors_file(tensor(place=storage("../0"))),
        "strange-type": archives.tensors_file(tensor(place=storage(kind="UntypedStorage"))),
        "two-types": stored(
            {
                **good,
                "data.pkl": program(
                    dictionary(
                        model=dictionary(
                            a=tensor(), b=tensor((2,), place=storage(kind="DoubleStorage", count=2))
                        )
                    )
                ),
            }
        ),
        "aliased": _aliased(),
        "cycle": stored({**good, "data.pkl": program(b"}q\x00(" + text("model") + b"h\x00u")}),
        "long-text": stored({**good, "data.pkl": program(b"X\xff\xff\xff\x7f")}),
        "not-utf-8": stored({**good, "data.pkl": program(b"X\x01\x00\x00\x00\xff")}),
        "mark": stored({**good, "data.pkl": b"\x80\x02(N."}),
        "underflow": stored({**good, "data.pkl": program(b"a")}),
        "unknown-memo": stored({**good, "data.pkl": program(b"h\x07")}),
        "big-key": stored({**good, "data.pkl": program(b"}" + archives.integer(2**61) + b"Ns")}),
    }
    return bombs[name]


def _overlapping(good: dict[str, bytes]) -> bytes:
    data = bytearray(archives.by_hand([(b"a/data.pkl", good["data.pkl"]), (b"a/data/0", b"\0" * 16)]))
    second = data.rindex(b"PK\x01\x02")
    data[second + 42 : second + 46] = (4).to_bytes(4, "little")
    return bytes(data)


def _aliased() -> bytes:
    """Many tensors over one storage: together far larger than the file."""
    numbers = b"\0" * 40_000
    many = {f"t{number}": tensor((10_000,), place=storage(count=10_000)) for number in range(200)}
    return stored({"data.pkl": program(dictionary(model=dictionary(**many))), "data/0": numbers})


ATTACKS = {
    "os.system": "asks to call posix.system",
    "eval": "asks to call __builtin__.eval",
    "exec": "asks to call builtins.exec",
    "getattr": "asks to call __builtin__.getattr",
    "popen": "asks to call subprocess.Popen",
    "dotted": "asks to call torch.nn.modules.module.torch.os.system",
    "dotted-protocol-4": "pickle protocol 4",
    "newobj": "asks to call posix.system",
    "build": "asks to call posix.system",
    "in-settings": "opt: asks to call os.system",
    "torch.load": "names torch.serialization.load",
    "bytearray": "asks to call __builtin__.bytearray",
    "array": "names numpy.core.multiarray._reconstruct",
    "nested": "neither a network nor",
    "doubled": "31 values are left",
    "left-over": "2 values are left",
    "after-stop": "bytes follow the end of its pickle",
    "stack-global": "instruction 0x93",
    "ext": "instruction 0x82",
    "compressed": "is compressed",
    "twice": "occurs twice",
    "overlap": "records overlap",
    "escape": "leads out of the archive",
    "absolute": "leads out of the archive",
    "encrypted": "is encrypted",
    "crc": "checksum of the record 'data/0' is wrong",
    "longer": "17 bytes for 4 numbers",
    "shorter": "15 bytes for 4 numbers",
    "missing": "data/0 is missing",
    "big-endian": "big-endian",
    "stride-0": "more numbers than its storage",
    "outside": "reaches outside its storage",
    "negative-offset": "impossible sizes",
    "negative-size": "impossible sizes",
    "negative-stride": "impossible sizes",
    "2^62": "impossible sizes",
    "2^62-storage": "storage with an impossible length",
    "nine-dimensions": "impossible sizes",
    "strange-key": "storage with an impossible name",
    "strange-type": "storage of an unknown type",
    "two-types": "two types or lengths",
    "aliased": "larger than the file",
    "cycle": "neither a network nor",
    "long-text": "a text of 2147483647 bytes",
    "not-utf-8": "not UTF-8",
    "mark": "1 values are left",
    "underflow": "takes a value that is not there",
    "unknown-memo": "recalls a value",
    "big-key": "neither text nor a number",
}
"""Attack -> part of the refusal it gets, so that none is refused for another reason."""


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_refused_and_do_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ATTACKS[name] in refusal(tmp_path / "a.pt", attack(name))
    assert not (tmp_path / "canary").exists()


def test_the_parts_of_attacks_are_fine_by_themselves(tmp_path: Path) -> None:
    """The same builders, without the attack, come as far as the anchors they lack."""
    message = refusal(tmp_path / "a.pt", archives.tensors_file(tensor()))
    assert "not those of a detector: the anchors" in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"\xff\xd8\xff\xe0" + b"0" * 100, "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"PK\x05\x06" + bytes(18), "empty zip"),
        ((64).to_bytes(8, "little") + b'{"a":' + b" " * 100, "safetensors"),
        (b"\x08\x07\x12\x07pytorch" + b"0" * 50, "ONNX"),
        (b"\0" * 257 + b"ustar" + b"\0" * 300, "tar archive"),
        (b"\x1f\x8b\x08" + b"0" * 50, "gzip"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x80\x02}q\x00.", "no checkpoint of torch.save"),
        (b"\x80\x02\x8a", "cut off"),
        (b"nc: 80\n", "is no checkpoint of torch"),
        (stored({"constants.pkl": b"", "data.pkl": b""}), "TorchScript"),
        (stored({"word/document.xml": b""}), "none of torch.save"),
        (stored({"data.pkl": program(dictionary(model=b"]"))}), "neither a network nor"),
        (stored({"data.pkl": program(b"K\x01")}), "neither a network nor"),
    ],
)
def test_foreign_files_are_called_by_their_names(tmp_path: Path, content: bytes, expected: str) -> None:
    assert expected in refusal(tmp_path / "a.pt", content)


def test_later_families(tmp_path: Path) -> None:
    content = stored({"data.pkl": program(dictionary(model=call("ultralytics.nn.tasks", "DetectionModel")))})
    assert "later family" in refusal(tmp_path / "a.pt", content)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path / "none.pt")
    assert "no regular file" in refusal(tmp_path)


@pytest.mark.parametrize("stream", [False, True])
def test_truncation_and_appended_bytes(tmp_path: Path, stream: bool) -> None:
    path = save_release(tmp_path / "a.pt", filled_detector(small_architecture("v4.0")), stream=stream)
    data = path.read_bytes()
    for cut in (20, 100, 5000, len(data) - 1):
        assert "cut off" in refusal(path, data[:cut]) or "too early" in refusal(path, data[:cut])
    assert "appended" in refusal(path, data + b"x") or "follow" in refusal(path, data + b"x")


# ------------------------------------------------------------------------------------------------ fuzzing


@pytest.fixture(scope="module")
def fuzz_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    values = {
        "nc": 2,
        "depth_multiple": 1.0,
        "width_multiple": 1.0,
        "anchors": [[10, 13]],
        "backbone": [[-1, 1, "Conv", [4, 3, 2]], [-1, 1, "Bottleneck", [4]]],
        "head": [[[-1], 1, "Detect", ["nc", "anchors"]]],
    }
    for release in ("v4.0", "v7.0"):
        rules = {"name": "x", "release": release, **RELEASES[release].rules}
        detector = filled_detector(parse_architecture(values, "x", rules=rules))
        for layout in ("zip", "stream"):
            path = folder / f"base-{release}-{layout}.pt"
            save_release(path, detector, stripped=True, stream=layout == "stream")
    return folder


def run_program(folder: Path, *arguments: str) -> Any:
    command = [sys.executable, "-m", "tests.checkpoint.legacy.fuzz_program", str(folder), *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check_fuzz(found: Any) -> None:
    assert found["escaped"] == []
    assert found["events"] == []
    assert not found["canary"]
    outcomes = found["outcomes"]
    for kind in ("raw", "truncated", "pickle", "opcode", "zip", "stream"):
        assert outcomes[f"{kind} refused"] > 0


def test_mutants(fuzz_folder: Path, record_property: Any) -> None:
    """Seeded mutants: nothing but a refusal comes out, and the process does nothing it should not."""
    check_fuzz(run_program(fuzz_folder, "0", "1000"))
    record_property("mutants of checkpoints refused or read, none run", 1000)


@pytest.mark.long
def test_many_mutants(fuzz_folder: Path, record_property: Any) -> None:
    check_fuzz(run_program(fuzz_folder, "1", "10000"))
    record_property("mutants of checkpoints refused or read, none run", 10000)


@pytest.mark.skipif(sys.platform == "win32", reason="the injected call is of a POSIX shell")
def test_mutants_do_run_in_an_unsafe_reader(fuzz_folder: Path) -> None:
    """The negative control: the calls that were injected work where they are not refused."""
    assert run_program(fuzz_folder, "0", "20", "control") == {"fired": 20, "refused": 20}
