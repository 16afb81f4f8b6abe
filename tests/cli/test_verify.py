import json

from vedette.cli.app import main


def test_a_changed_file_has_its_own_exit_code(exports, tmp_path, capsys):
    path = exports.copy("openvino", tmp_path)
    (graph,) = path.glob("*.xml")
    text = graph.read_text(encoding="utf-8")
    changed = text.replace("&quot;pad_value&quot;:114", "&quot;pad_value&quot;:0", 1)
    assert changed != text
    graph.write_text(changed, encoding="utf-8")
    report = tmp_path / "report.json"
    assert main(["verify", str(path), "--json", str(report)]) == 2
    printed = capsys.readouterr().out
    assert "does not find what PyTorch finds" in printed
    assert "differs: contract: it was changed after the golden detections were made" in printed
    values = json.loads(report.read_text())
    assert values["passed"] is False
    assert len(values["problems"]) > 1


def test_other_files_are_refused(tmp_path, capsys):
    path = tmp_path / "a.onnx"
    path.write_bytes(b"nothing")
    assert main(["verify", str(path)]) == 2
    assert str(path) in capsys.readouterr().err
