"""Files that no command may accept: attacks, bombs, damaged files, files of other kinds; each with its refusal.

A line of the tables is a name, the file, and a part of what is said about it, so that none is refused for another
reason than its own. ``canary`` is what a payload that ran would create in the working directory.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import os
import sys
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.checkpoint.legacy import archives
from tests.checkpoint.legacy.archives import (
    SYSTEM,
    by_hand,
    call,
    dictionary,
    integer,
    program,
    storage,
    stored,
    tensor,
    tensors_file,
    text,
)
from tests.checkpoint.legacy.bytewise import MAGIC_NUMBER
from tests.checkpoint.legacy.pickler import Pickler
from tests.checkpoint.test_tensors import entry, seal
from vedette.core.letterbox import LetterboxPolicy
from vedette.model.releases import architecture

COMMAND = "echo >canary"


@dataclasses.dataclass(frozen=True)
class Hostile:
    """One file.

    Attributes:
        name: of the attack.
        content: its bytes, or what makes it at a path.
        says: a part of the refusal.
        suffix: decides how the file is read.
    """

    name: str
    content: Callable[[], bytes] | Callable[[Path], None]
    says: str
    suffix: str = ".pt"

    def write(self, path: Path) -> None:
        if self.name in MADE:
            self.content(path)  # type: ignore[call-arg]
        else:
            path.write_bytes(self.content())  # type: ignore[call-arg,arg-type]


# ------------------------------------------------------------------------------------------------ pickles

_SHELL = text(COMMAND)
_GOOD = {"data.pkl": program(dictionary(model=dictionary(weight=tensor()))), "data/0": b"\0" * 16}


def pickled(code: bytes) -> bytes:
    return stored({**_GOOD, "data.pkl": code})


def model(value: bytes) -> bytes:
    return pickled(program(dictionary(model=value)))


def _built(path: str, state: bytes) -> bytes:
    module, _, name = path.rpartition(".")
    return f"c{module}\n{name}\n".encode() + b")\x81" + state + b"b"


def network(root: str = "models.yolo.Model", **modules: bytes) -> bytes:
    """A network of some modules, without settings."""
    children = b"ccollections\nOrderedDict\n)R(" + b"".join(text(k) + v for k, v in modules.items()) + b"u"
    return _built(root, dictionary(_modules=children))


def _many_modules() -> bytes:
    """Twenty thousand places of modules in a file of a few kilobytes: the same ones again and again."""
    inner = network("torch.nn.modules.container.Sequential")

    def several(one: bytes, place: bytes) -> bytes:
        first = one + b"q" + place
        names = {str(number): first if not number else b"h" + place for number in range(145)}
        return network("torch.nn.modules.container.Sequential", **names)

    return model(network(model=several(several(inner, b"\x00"), b"\x01")))


def _deep_modules() -> bytes:
    made = network("torch.nn.modules.container.Sequential")
    for _ in range(40):
        made = network("torch.nn.modules.container.Sequential", m=made)
    return model(network(model=made))


def _aliased() -> bytes:
    """Many tensors over one storage: together far larger than the file."""
    numbers = b"\0" * 40_000
    many = {f"t{number}": tensor((10_000,), place=storage(count=10_000)) for number in range(200)}
    return stored({"data.pkl": program(dictionary(model=dictionary(**many))), "data/0": numbers})


def _many_names() -> bytes:
    names = b"".join(f"cmodels.common\nBlock{number}\n".encode() for number in range(10_001))
    return model(b"(" + names + b"t")


def _doubled() -> bytes:
    return pickled(program(b"]q\x00" + b"".join(b"](h\x00h\x00eq\x00" for _ in range(30))))


def _two_types() -> bytes:
    second = tensor((2,), place=storage(kind="DoubleStorage", count=2))
    return pickled(program(dictionary(model=dictionary(a=tensor(), b=second))))


def _overlapping() -> bytes:
    data = bytearray(by_hand([(b"a/data.pkl", _GOOD["data.pkl"]), (b"a/data/0", b"\0" * 16)]))
    second = data.rindex(b"PK\x01\x02")
    data[second + 42 : second + 46] = (4).to_bytes(4, "little")
    return bytes(data)


def stream(value: bytes, keys: bytes = b"]", numbers: bytes = b"", **system: Any) -> bytes:
    """A file in the container before torch 1.6."""
    head = [MAGIC_NUMBER, 1001, {"protocol_version": 1001, "little_endian": True, **system}]
    return b"".join([*(Pickler().finished(part) for part in head), program(value), program(keys), numbers])


def _class_with_source(source: bytes) -> bytes:
    """A class as the stream wraps it: with its file and its source text."""
    return b"(" + text("module") + b"cmodels.common\nConv\n" + text("common.py") + source + b"tQ"


_ZIP = (b"a/data.pkl", _GOOD["data.pkl"]), (b"a/data/0", b"\0" * 16)

ATTACKS: tuple[tuple[str, Callable[[], bytes], str], ...] = (
    ("os-system", lambda: model(SYSTEM + _SHELL + b"\x85R"), "asks to call posix.system"),
    ("nt-system", lambda: model(b"cnt\nsystem\n" + _SHELL + b"\x85R"), "asks to call nt.system"),
    ("eval", lambda: model(call("__builtin__", "eval", text("1"))), "asks to call __builtin__.eval"),
    ("exec", lambda: model(call("builtins", "exec", text("1"))), "asks to call builtins.exec"),
    ("getattr", lambda: model(call("__builtin__", "getattr", text("a"), text("b"))),
     "asks to call __builtin__.getattr"),
    ("popen", lambda: model(call("subprocess", "Popen", _SHELL)), "asks to call subprocess.Popen"),
    ("runpy", lambda: model(call("runpy", "run_path", text("canary.py"))), "asks to call runpy.run_path"),
    ("pip", lambda: model(call("pip", "main", b"]" + text("install") + b"a")), "asks to call pip.main"),
    ("socket", lambda: model(call("socket", "create_connection", b"(" + text("127.0.0.1") + integer(9) + b"t")),
     "asks to call socket.create_connection"),
    ("urlopen", lambda: model(call("urllib.request", "urlopen", text("http://127.0.0.1:9"))),
     "asks to call urllib.request.urlopen"),
    ("dotted", lambda: model(call("torch.nn.modules.module", "torch.os.system", _SHELL)),
     "asks to call torch.nn.modules.module.torch.os.system"),
    ("dotted-protocol-4", lambda: pickled(b"\x80\x04" + text("torch") + text("os.system") + b"\x93."),
     "pickle protocol 4"),
    ("new-object", lambda: model(SYSTEM + b"(" + _SHELL + b"t\x81"), "asks to call posix.system"),
    ("build", lambda: model(call("models.common", "Conv") + SYSTEM + _SHELL + b"\x85Rb"), "asks to call posix.system"),
    ("in-settings", lambda: pickled(program(dictionary(opt=call("os", "system", _SHELL), model=b"N"))),
     "opt: asks to call os.system"),
    ("in-a-key", lambda: pickled(program(b"}" + SYSTEM + _SHELL + b"\x85RNs")), "neither text nor a number"),
    ("in-a-class-name", lambda: model(_built("models.yolo.Model", dictionary(names=b"]" + SYSTEM + b"a"))),
     "names: asks to call posix.system"),
    ("torch-load", lambda: model(call("torch.serialization", "load", text("x.pt"))), "names torch.serialization.load"),
    ("torch-hub", lambda: model(call("torch.hub", "load", text("a/b"))), "names torch.hub.load"),
    ("unsafe-rebuild", lambda: model(call("torch.jit._pickle", "restore_type_tag", b"N")), "names torch.jit._pickle"),
    ("bytearray", lambda: model(call("__builtin__", "bytearray", integer(2**31 - 1))),
     "asks to call __builtin__.bytearray"),
    ("array", lambda: model(call("numpy.core.multiarray", "_reconstruct", b"cnumpy\nndarray\n", integer(2**31 - 1))),
     "names numpy.core.multiarray._reconstruct"),
    ("escape-codes", lambda: model(dictionary(**{"\x1b]0;x\x07": b"cos\n\x1b[31m\n)R"})), "os.?[31m"),
    ("escape-key", lambda: pickled(program(dictionary(**{"\x1b[2J\n": b"cos\nsystem\n"}))), "\\u001b[2J"),
    ("nested", lambda: pickled(program(b"]" * 20_000 + b"a" * 19_999)), "neither a network nor"),
    ("doubled", _doubled, "31 values are left"),
    ("left-over", lambda: pickled(b"\x80\x02NN."), "2 values are left"),
    ("after-stop", lambda: pickled(_GOOD["data.pkl"] + b"x"), "bytes follow the end of its pickle"),
    ("stack-global", lambda: pickled(program(b"\x93")), "instruction 0x93"),
    ("extension", lambda: pickled(program(b"\x82\x01")), "instruction 0x82"),
    ("instance", lambda: pickled(program(b"(iposix\nsystem\n")), "instruction 0x69"),
    ("object", lambda: pickled(program(b"(" + SYSTEM + _SHELL + b"o")), "instruction 0x6f"),
    ("long-text", lambda: pickled(program(b"X\xff\xff\xff\x7f")), "a text of 2147483647 bytes"),
    ("not-utf-8", lambda: pickled(program(b"X\x01\x00\x00\x00\xff")), "not UTF-8"),
    ("mark", lambda: pickled(b"\x80\x02(N."), "1 values are left"),
    ("underflow", lambda: pickled(program(b"a")), "takes a value that is not there"),
    ("unknown-memo", lambda: pickled(program(b"h\x07")), "recalls a value"),
    ("big-key", lambda: pickled(program(b"}" + integer(2**61) + b"Ns")), "neither text nor a number"),
    ("cycle", lambda: pickled(program(b"}q\x00(" + text("model") + b"h\x00u")), "neither a network nor"),
    ("many-names", _many_names, "names more than 10000"),
    ("many-modules", _many_modules, "nested too deeply, or too many"),
    ("deep-modules", _deep_modules, "nested too deeply, or too many"),
)  # fmt: skip

CONTAINERS: tuple[tuple[str, Callable[[], bytes], str], ...] = (
    ("compressed", lambda: stored(_GOOD, method=zipfile.ZIP_DEFLATED), "is compressed"),
    ("zip-bomb", lambda: stored({**_GOOD, "data/0": bytes(5_000_000)}, method=zipfile.ZIP_DEFLATED), "is compressed"),
    ("twice", lambda: by_hand([_ZIP[0], (b"a/data.pkl", b"x")]), "occurs twice"),
    ("overlap", _overlapping, "records overlap"),
    ("escape", lambda: stored({**_GOOD, "../data/1": b""}), "leads out of the archive"),
    ("absolute", lambda: by_hand([(b"/a/data.pkl", _GOOD["data.pkl"])]), "leads out of the archive"),
    ("encrypted", lambda: by_hand([_ZIP[0]], flags=1), "is encrypted"),
    ("wrong-checksum", lambda: by_hand([*_ZIP], crc_error=1), "checksum of the record 'data/0' is wrong"),
    ("record-longer", lambda: stored({**_GOOD, "data/0": b"\0" * 17}), "17 bytes for 4 numbers"),
    ("record-shorter", lambda: stored({**_GOOD, "data/0": b"\0" * 15}), "15 bytes for 4 numbers"),
    ("record-missing", lambda: stored({"data.pkl": _GOOD["data.pkl"]}), "data/0 is missing"),
    ("big-endian", lambda: stored({**_GOOD, "byteorder": b"big"}), "big-endian"),
    ("cut-off", lambda: stored(_GOOD)[:-30], "cut off"),
    ("appended", lambda: stored(_GOOD) + b"x", "something was appended"),
    ("stride-0", lambda: tensors_file(tensor((10**9,), (0,))), "more numbers than its storage"),
    ("outside", lambda: tensors_file(tensor((4,), (1,), 1)), "reaches outside its storage"),
    ("negative-offset", lambda: tensors_file(tensor((2,), (1,), -1)), "impossible sizes"),
    ("negative-size", lambda: tensors_file(tensor((-1,), (1,))), "impossible sizes"),
    ("negative-stride", lambda: tensors_file(tensor((2,), (-1,), 3)), "impossible sizes"),
    ("2-to-the-62", lambda: tensors_file(tensor((2**62,), (1,))), "impossible sizes"),
    ("2-to-the-62-stored", lambda: tensors_file(tensor(place=storage(count=2**62))), "an impossible length"),
    ("nine-dimensions", lambda: tensors_file(tensor((1,) * 9, (1,) * 9)), "impossible sizes"),
    ("strange-key", lambda: tensors_file(tensor(place=storage("../0"))), "storage with an impossible name"),
    ("strange-type", lambda: tensors_file(tensor(place=storage(kind="UntypedStorage"))), "storage of an unknown type"),
    ("two-types", _two_types, "two types or lengths"),
    ("aliased", _aliased, "larger than the file"),
    ("stream-attack", lambda: stream(dictionary(model=SYSTEM + _SHELL + b"\x85R")), "asks to call posix.system"),
    ("stream-source", lambda: stream(_class_with_source(SYSTEM + _SHELL + b"\x85R") + b")R"),
     "a class that is no name"),
    ("stream-big-endian", lambda: stream(b"N", little_endian=False), "big-endian"),
    ("stream-count", lambda: stream(tensor(), b"]" + text("0") + b"a", (2**60).to_bytes(8, "little")),
     "numbers, not 4"),
    ("stream-cut-off", lambda: stream(tensor(), b"]" + text("0") + b"a", (4).to_bytes(8, "little")), "cut off"),
    ("stream-unused", lambda: stream(b"N", b"]" + text("0") + b"a"), "not what its object refers to"),
    ("stream-head", lambda: stream(b"N")[:15] + program(b"K\x07") + program(b"}"),
     "its head is not that of torch.save"),
)  # fmt: skip

# ------------------------------------------------------------------------------------------------ other kinds


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../canary"), io.BytesIO(b""))
    return buffer.getvalue()


def _safetensors(**header: Any) -> bytes:
    raw = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, **header}).encode()
    return len(raw).to_bytes(8, "little") + raw + bytes(4)


FOREIGN: tuple[tuple[str, Callable[[], bytes], str], ...] = (
    ("empty", lambda: b"", "is empty"),
    ("jpeg", lambda: b"\xff\xd8\xff\xe0" + b"0" * 100, "JPEG"),
    ("png", lambda: b"\x89PNG\r\n\x1a\n", "PNG"),
    ("pdf", lambda: b"%PDF-1.7", "PDF"),
    ("empty-zip", lambda: b"PK\x05\x06" + bytes(18), "empty zip"),
    ("zipped", lambda: stored({"best.pt": stored(_GOOD)}, method=zipfile.ZIP_DEFLATED, root="weights/"),
     "none of torch.save; unpack it"),
    ("word", lambda: stored({"word/document.xml": b""}), "none of torch.save"),
    ("torchscript", lambda: stored({"constants.pkl": b"", "data.pkl": b"", "code/__torch__.py": b""}), "TorchScript"),
    ("others-safetensors", _safetensors, "safetensors"),
    ("onnx", lambda: b"\x08\x07\x12\x07pytorch" + b"0" * 50, "ONNX"),
    ("tflite", lambda: b"\x1c\0\0\0TFL3" + bytes(50), "TensorFlow Lite"),
    ("keras", lambda: b"\x89HDF\r\n\x1a\n", "HDF5"),
    ("program", lambda: b"\x7fELF" + bytes(50), "is a program"),
    ("tar", _tar, "tar archive"),
    ("gzip", lambda: gzip.compress(stored(_GOOD), mtime=0), "gzip"),
    ("web-page", lambda: b"<!DOCTYPE html><html>", "web page"),
    ("git-lfs", lambda: b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ("bare-pickle", lambda: program(b"}"), "no checkpoint of torch.save"),
    ("bare-attack", lambda: program(SYSTEM + _SHELL + b"\x85R"), "no checkpoint of torch.save"),
    ("cut-off-stream", lambda: b"\x80\x02\x8a", "cut off"),
    ("yaml", lambda: b"nc: 80\n", "is no checkpoint of torch"),
    ("segmentation", lambda: model(network("models.yolo.SegmentationModel")), "holds a segmentation model"),
    ("classification", lambda: model(network("models.yolo.ClassificationModel")), "holds a classification model"),
    ("later-family", lambda: model(network("ultralytics.nn.tasks.DetectionModel")), "later family"),
    ("unknown-block", lambda: model(network(model=network("models.common.GhostConv"))),
     "model.model: holds the module models.common.GhostConv, which vedette does not have"),
    ("optimizer-only", lambda: model(b"]"), "neither a network nor"),
    ("a-number", lambda: pickled(program(b"K\x01")), "neither a network nor"),
    ("other-tensors", lambda: tensors_file(tensor()), "not those of a detector: the anchors"),
)  # fmt: skip

# ------------------------------------------------------------------------------------------------ our own format


def own(**content: Any) -> bytes:
    """A file of ours with a right checksum and a content of its own."""
    values: dict[str, Any] = {
        "kind": "detector",
        "schema_version": 1,
        "architecture": architecture("tiny", classes=1).to_dict(),
        "anchors_px": [],
        "class_names": ["a"],
        "letterbox": LetterboxPolicy(size_hw=(64, 64)).to_dict(),
        "metadata": {},
        **content,
    }
    return seal({"__metadata__": {"metadata": json.dumps(values)}})


def _architecture(**changes: Any) -> bytes:
    return own(architecture={**architecture("tiny", classes=1).to_dict(), **changes})


def _huge_architecture() -> bytes:
    row = {"source": [-1], "repeats": 100, "module": "C3", "arguments": [8]}
    head = {"source": [-1], "repeats": 1, "module": "Detect", "arguments": ["nc", "anchors"]}
    return _architecture(rows=[row] * 999 + [head], anchors_px=[[[1.0, 1.0]]])


def _row(module: str, *arguments: Any) -> list[dict[str, Any]]:
    return [{"source": [-1], "repeats": 1, "module": module, "arguments": list(arguments)}]


OWN: tuple[tuple[str, Callable[[], bytes], str], ...] = (
    ("own-empty", lambda: b"", "it is too short"),
    ("own-pickle", lambda: stored(_GOOD), "is damaged or was not written by vedette"),
    ("own-attack", lambda: model(SYSTEM + _SHELL + b"\x85R"), "is damaged or was not written by vedette"),
    ("own-foreign", _safetensors, "lacks its layers"),
    ("own-header-huge", lambda: (2**62).to_bytes(8, "little") + b"{}" + bytes(50), "is too short"),
    ("own-header-large", lambda: (17 << 20).to_bytes(8, "little") + b" " * (18 << 20), "an impossible length"),
    ("own-header-deep", lambda: seal({})[:0] + (200_000).to_bytes(8, "little") + b"[" * 200_000, "is not JSON"),
    ("own-header-list", lambda: (2).to_bytes(8, "little") + b"[]", "no JSON object"),
    ("own-header-nan", lambda: (7).to_bytes(8, "little") + b'{"a":N}', "is not JSON"),
    ("own-digits", lambda: (5009).to_bytes(8, "little") + b'{"a":' + b"9" * 5003 + b"}", "is not JSON"),
    ("own-wrong-hash", lambda: seal({"w": entry()}, b"\0" * 8)[:-1] + b"\1", "checksum does not match"),
    ("own-cut-off", lambda: seal({"w": entry()}, b"\0" * 8)[:-1], "7 bytes of tensors"),
    ("own-overlap", lambda: seal({"v": entry(), "w": entry()}, b"\0" * 8), "overlap or leave gaps"),
    ("own-shape", lambda: seal({"w": entry(shape=(2**40, 2**40))}, b"\0" * 8), "does not fit its shape"),
    ("own-dtype", lambda: seal({"w": entry(dtype="posix.system")}, b"\0" * 8), "is unreadable"),
    ("own-schema", lambda: seal({"__metadata__": {"schema": "2"}}), "has schema '2'"),
    ("own-kind", lambda: own(kind="state"), "holds no detector"),
    ("own-module", lambda: _architecture(rows=_row("os.system", COMMAND)), "'os.system' is not known"),
    ("own-expression", lambda: _architecture(rows=_row("Conv", f"__import__('os').system('{COMMAND}')")),
     "row 0: Conv: arguments"),
    ("own-activation", lambda: _architecture(activation="eval('1')"), "is not known"),
    ("own-huge", _huge_architecture, "more than 2000"),
    ("own-anchors", lambda: _architecture(anchors_px=[[[1e308, 1e308]] * 3] * 3), "anchors_px"),
    ("own-letterbox", lambda: own(letterbox={**LetterboxPolicy().to_dict(), "size_hw": [10**9, 10**9]}),
     "letterbox.size_hw: is not accepted"),
    ("own-class-name", lambda: own(class_names=["\x1b[2J"]), "holds a control character"),
    ("own-no-tensors", own, "tensors do not fit its architecture: missing"),
)  # fmt: skip

# ------------------------------------------------------------------------------------------------ exported files

_CODE = b"import os\nos.system('echo >canary')\n"
_BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE net [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><net>&b;</net>'
)

EXPORTED: tuple[tuple[str, Callable[[], bytes], str], ...] = (
    ("onnx-jpeg", lambda: b"\xff\xd8\xff\xe0" + b"0" * 100, ".onnx"),
    ("onnx-attack", lambda: model(SYSTEM + _SHELL + b"\x85R"), ".onnx"),
    ("onnx-empty", lambda: b"", ".onnx"),
    ("onnx-other-file", lambda: b"\x3a\x06\x2a\x04\x6a\x02\x0a\x00", ".onnx"),
    ("torchscript-attack", lambda: model(SYSTEM + _SHELL + b"\x85R"), ".torchscript"),
    ("torchscript-code", lambda: stored({"code/__torch__.py": _CODE, "data.pkl": program(b"N")}), ".torchscript"),
    ("torchscript-bomb", lambda: stored({"data.pkl": bytes(5_000_000)}, method=zipfile.ZIP_DEFLATED), ".torchscript"),
    ("openvino-bomb", lambda: _BOMB, ".xml"),
    ("exported-attack", lambda: model(SYSTEM + _SHELL + b"\x85R"), ".pt2"),
    ("exported-stub", lambda: b"\x1c\0\0\0TFL3" + bytes(50), ".tflite"),
)  # fmt: skip
"""Name, file, suffix. What is said depends on the command: some run such files, others want a checkpoint."""

# ------------------------------------------------------------------------------------------------ not even files


def _fifo(path: Path) -> None:
    os.mkfifo(path)


MADE: dict[str, tuple[Callable[[Path], None], str]] = {
    "folder": (Path.mkdir, "is no regular file"),
    "missing": (lambda path: None, "no such file"),
    **({"pipe": (_fifo, "is no regular file")} if hasattr(os, "mkfifo") else {}),
    **(
        {"loop": (lambda path: path.symlink_to(path.name), "no such file")} if sys.platform != "win32" else {}
    ),
}
"""What makes them, and what is said. Nobody may wait for a pipe."""


def hostile_files() -> list[Hostile]:
    """All of them, in a fixed order; those that are no files under both suffixes."""
    found = [Hostile(*line) for line in (*ATTACKS, *CONTAINERS, *FOREIGN)]
    found += [Hostile(*line, suffix=".safetensors") for line in OWN]
    found += [Hostile(name, content, "", suffix) for name, content, suffix in EXPORTED]
    for suffix in (".pt", ".safetensors"):
        found += [Hostile(name, make, says, suffix) for name, (make, says) in MADE.items()]
    return found


parts_are_fine = partial(archives.tensors_file, tensor())
"""The same builders without an attack: it is refused for the anchors it lacks, and for nothing else."""
