import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.checkpoint.contracts import small_contract
from vedette.checkpoint.exported.openvino import read_openvino
from vedette.errors import CheckpointError

CONTRACT = small_contract(format="openvino")
GRAPH = """<?xml version="1.0"?>
<net name="Model" version="11"><layers>
<layer id="0" name="x" type="Parameter" version="opset1"><data shape="1" element_type="u8"/></layer>
<layer id="1" name="c" type="Const" version="opset1"><data element_type="f32" shape="2" offset="4" size="8"/></layer>
</layers><rt_info><vedette value="{contract}"/></rt_info></net>
"""


def text(contract=None):
    return GRAPH.format(contract=html.escape((contract or CONTRACT).to_json()))


def folder(tmp_path, graph, weights=b"\0" * 12):
    made = tmp_path / "best_openvino_model"
    made.mkdir()
    (made / "best.xml").write_text(graph, encoding="utf-8")
    (made / "best.bin").write_bytes(weights)
    return made


def test_folder_and_file_are_read(tmp_path):
    made = folder(tmp_path, text())
    for path in (made, made / "best.xml"):
        exported = read_openvino(path)
        assert exported.contract == CONTRACT
        assert exported.parts == {"model": text().encode(), "weights": b"\0" * 12}


BOMB = '<!DOCTYPE net [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda graph: graph.replace("<net ", BOMB + "<net ", 1), "has a document type declaration"),
        (
            lambda graph: graph.replace("<net ", '<!DOCTYPE net SYSTEM "file:///etc/passwd"><net ', 1),
            "has a document type declaration",
        ),
        (lambda graph: graph.replace('version="opset1"', 'version="extension"'), "beyond OpenVINO's own"),
        (lambda graph: graph.replace('type="Parameter"', 'type="If"'), "a graph within its graph"),
        (lambda graph: graph.replace('size="8"', 'size="9"'), "beyond the end of its weights"),
        (lambda graph: graph.replace('offset="4"', 'offset="-4"'), "a constant without a place"),
        (lambda graph: graph.replace("vedette", "other"), "was not exported by vedette"),
        (
            lambda graph: graph.replace("<rt_info>", '<rt_info><vedette value="{}"/>'),
            "has its metadata twice",
        ),
        (lambda graph: graph[:200], "is no readable XML"),
        (lambda graph: "<a/>", "is no graph of OpenVINO"),
        (lambda graph: "<net>" + "<a>" * 30 + "</a>" * 30 + "</net>", "is no graph of OpenVINO"),
        (lambda graph: GRAPH.format(contract="__import__('os')"), "not readable JSON"),
        (lambda graph: text(small_contract()), "belongs to a file of format 'onnx'"),
    ],
)
def test_what_no_detector_needs_is_refused(change, problem, tmp_path):
    with pytest.raises(CheckpointError, match=problem):
        read_openvino(folder(tmp_path, change(text())))


def test_folder_holds_one_graph(tmp_path):
    made = folder(tmp_path, text())
    (made / "other.xml").write_text("<net/>")
    with pytest.raises(CheckpointError, match=r"holds 2 \.xml files"):
        read_openvino(made)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_openvino(tmp_path / "none.xml")
    (made / "best.bin").unlink()
    with pytest.raises(CheckpointError, match=r"best\.bin: cannot be read"):
        read_openvino(made / "best.xml")


RAW = text().encode()


@given(place=st.integers(0, len(RAW) - 1), value=st.integers(0, 255))
def test_damage_is_found_or_harmless(place, value, tmp_path_factory):
    damaged = bytearray(RAW)
    damaged[place] = value
    path = tmp_path_factory.getbasetemp() / "damaged.xml"
    path.write_bytes(damaged)
    path.with_suffix(".bin").write_bytes(b"\0" * 12)
    try:
        assert read_openvino(path).contract.format == "openvino"
    except CheckpointError:
        return
