"""OpenVINO folders: one ``.xml`` with the graph and the metadata, one ``.bin`` with the weights.

The graph is read with an XML parser that stops at a document type declaration, so entities cannot grow or name files;
operators must come from OpenVINO's own sets, and constants must lie within the weights.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

from vedette.checkpoint.contract import CONTRACT_NAME
from vedette.checkpoint.exported import ExportedFile, contract_of, read_bounded
from vedette.errors import CheckpointError

MAX_XML_BYTES = 64 * 1024 * 1024
_MAX_DEPTH = 16
_OPERATOR_SET = re.compile(r"opset[0-9]{1,3}", re.ASCII)
_CONTAINERS = frozenset(("If", "Loop", "TensorIterator"))


def read_openvino(path: Path) -> ExportedFile:
    """Read and check a folder, or the ``.xml`` in it; nothing of it is run.

    Raises:
        CheckpointError: no OpenVINO model of vedette, damaged, or holding what a detector never needs.
    """
    graph = _graph_file(path)
    weights = read_bounded(graph.with_suffix(".bin"))
    raw = read_bounded(graph, MAX_XML_BYTES)
    walk = _Walk(str(graph), len(weights))
    walk.read(raw)
    return ExportedFile(contract_of(walk.contract, graph, ("openvino",)), {"model": raw, "weights": weights})


def _graph_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.xml"))
    if len(found) != 1:
        raise CheckpointError(
            f"holds {len(found)} .xml files, expected one", where=path, fix="name the .xml file itself"
        )
    return found[0]


class _Walk:
    """Sees every element once, in order.

    Args:
        where: the file.
        weights_bytes: length of the weights.
    """

    def __init__(self, where: str, weights_bytes: int) -> None:
        self._where = where
        self._weights_bytes = weights_bytes
        self._path: list[str] = []
        self._layer = ""
        self.contract: str | None = None

    def read(self, raw: bytes) -> None:
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.StartElementHandler = self._begin
        parser.EndElementHandler = self._end
        try:
            parser.Parse(raw, True)
        except expat.ExpatError as error:
            self._refuse(f"is no readable XML ({error})")

    def _begin(self, name: str, values: dict[str, str]) -> None:
        self._path.append(name)
        if len(self._path) > _MAX_DEPTH or self._path[0] != "net":
            self._refuse("is no graph of OpenVINO")
        if self._path == ["net", "rt_info", CONTRACT_NAME]:
            if self.contract is not None:
                self._refuse("has its metadata twice")
            self.contract = values.get("value")
        elif name == "layer":
            self._begin_layer(values)
        elif name == "data" and self._layer == "Const":
            self._check_constant(values)

    def _begin_layer(self, values: dict[str, str]) -> None:
        self._layer = values.get("type", "")
        if self._layer in _CONTAINERS:
            self._refuse("holds a graph within its graph")
        version = values.get("version", "")
        if not _OPERATOR_SET.fullmatch(version):
            self._refuse(f"uses operators beyond OpenVINO's own ({version[:60]!r})")

    def _check_constant(self, values: dict[str, str]) -> None:
        numbers = [values.get("offset", ""), values.get("size", "")]
        if not all(re.fullmatch(r"[0-9]{1,12}", number, re.ASCII) for number in numbers):
            self._refuse("has a constant without a place")
        if sum(map(int, numbers)) > self._weights_bytes:
            self._refuse("has a constant beyond the end of its weights")

    def _end(self, _name: str) -> None:
        self._path.pop()

    def _refuse_doctype(self, *_declaration: object) -> None:
        self._refuse("has a document type declaration")

    def _refuse(self, what: str) -> NoReturn:
        raise CheckpointError(what, where=self._where, fix="export the checkpoint with `vedette export`")
