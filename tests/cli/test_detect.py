import json
import os
import signal
import sys
import threading

import pytest
from PIL import Image as Pillow

from tests.infer.colour_backend import colour_predictor, picture
from vedette.cli.app import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Pictures with a red box; the detector knows red and blue."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vedette.infer.run.configured_predictor", lambda *_: colour_predictor())
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        Pillow.fromarray(picture((60, 80), red=(10, 10, 40, 50))).save(tmp_path / "in" / name)
    return tmp_path


def test_what_is_printed(folder, capsys):
    (folder / "in" / "c.png").write_bytes(b"")
    (folder / "in" / "notes.pdf").write_bytes(b"")
    assert main(["detect", "in", "--nosave"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == [
        "1/3 in/a.png: 60x80 1 red",
        "2/3 in/b.png: 60x80 1 red",
        "3/3 in/c.png: the file is empty",
        "",
        "2 pictures: 2 red",
    ]
    assert lines[5] == "failed: in/c.png: the file is empty"
    assert lines[6] == "skipped: in/notes.pdf: suffix .pdf is not that of a picture or video"
    assert lines[7].startswith("median milliseconds a picture: decode ")
    assert lines[8].startswith("results in runs/detect/exp (")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGTERM")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_streams_in_order(folder, capsys, monkeypatch, number, code):
    monkeypatch.setattr("vedette.infer.video.live.FIRST_PAUSE_S", 0.001)
    before = signal.getsignal(signal.SIGTERM)
    written = folder / "runs" / "detect" / "exp" / "predictions.jsonl"

    def send_when_it_runs():
        for _ in range(2000):
            if written.exists() and written.read_text():
                os.kill(os.getpid(), number)
                return
            threading.Event().wait(0.01)

    sender = threading.Thread(target=send_when_it_runs)
    sender.start()
    flags = ["--stream-retries", "-1", "--save-json", "--save-coco"]
    assert main(["detect", "rtsp://127.0.0.1:1/x", *flags]) == code
    sender.join()
    assert signal.getsignal(signal.SIGTERM) == before
    assert "stream: rtsp://127.0.0.1:1/x: 0 pictures came, 0 were looked at" in capsys.readouterr().out
    assert json.loads((written.parent / "predictions_coco.json").read_text()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGTERM")
def test_a_signal_ends_pictures_at_once(folder, capsys, monkeypatch):
    def describe(_):
        os.kill(os.getpid(), signal.SIGTERM)
        return ""

    monkeypatch.setattr("vedette.infer.run.describe", describe)
    assert main(["detect", "in"]) == 143
    assert "results in" not in capsys.readouterr().out


def test_in_another_thread_no_signal_is_touched(folder, capsys):
    codes = []
    thread = threading.Thread(target=lambda: codes.append(main(["detect", "in", "--nosave"])))
    thread.start()
    thread.join()
    assert codes == [0]
    assert "2 pictures: 2 red" in capsys.readouterr().out
