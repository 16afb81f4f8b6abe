"""Two cameras over HTTP, one of which dies and comes back: the command as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.flow.conftest import command
from tests.infer.video import stream_server
from tests.infer.video.stream_server import number_of
from tests.model.lively import lively_detector
from vedette.checkpoint.deployable import save_detector
from vedette.core.letterbox import LetterboxPolicy
from vedette.infer.sources import open_source
from vedette.infer.video.reader import open_video

pytest.importorskip("av", reason="PyAV is not installed (pip install 'vedette[video]')")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent as a signal")

PATIENCE_S = 90.0
PROMISED_S = 5.0
"""A stream that can be reached again is read again after so long."""


class Camera:
    """A server in a process of its own, at one address however often it is started."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start, wait until it can be reached, and say when that was."""
        program = [sys.executable, str(stream_server.__file__), str(self.port), "25"]
        self.process = subprocess.Popen(program)
        wait_until(self.answers)
        return time.time()

    def answers(self) -> bool:
        with socket.socket() as attempt:
            return attempt.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def cameras() -> Iterator[list[Camera]]:
    both = [Camera(), Camera()]
    for camera in both:
        camera.start()
    yield both
    for camera in both:
        camera.kill()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "best.safetensors"
    save_detector(
        path,
        lively_detector(),
        class_names=("a", "b", "c"),
        letterbox=LetterboxPolicy(size_hw=(64, 64)),
        metadata={},
    )
    return path


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def records(path: Path) -> list[dict[str, Any]]:
    """The lines written so far."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def seconds_of(utc: str) -> float:
    return datetime.fromisoformat(utc.replace("Z", "+00:00")).timestamp()


def test_one_stream_is_lost_and_comes_back_and_the_other_loses_nothing(
    tmp_path: Path, weights: Path, cameras: list[Camera], record_property: Callable[[str, object], None]
) -> None:
    steady, flaky = cameras
    listed = tmp_path / "cameras.streams"
    listed.write_text(
        "".join(f"http://127.0.0.1:{camera.port}/now\n" for camera in cameras), encoding="utf-8"
    )
    arguments = [
        "--source",
        listed,
        "--weights",
        weights,
        "--project",
        tmp_path,
        "--name",
        "run",
        "--device",
        "cpu",
    ]
    flags = [
        "--stream-buffer",
        "--save-video",
        "--save-json",
        "--save-coco",
        "--stream-retries",
        "-1",
        "--conf-thres",
        "1",
    ]  # nothing is drawn over
    output = tmp_path / "output.txt"
    with output.open("wb") as console:
        run = subprocess.Popen(
            command("detect", *arguments, *flags),
            stdout=console,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    file = tmp_path / "run" / "predictions.jsonl"

    def seen(camera: Camera, event: str = "", at_least: int = 1) -> bool:
        assert run.poll() is None, output.read_text(encoding="utf-8")
        found = [r for r in records(file) if f":{camera.port}/" in r["path"] and r.get("event", "") == event]
        return len(found) >= at_least

    recovery = []
    try:
        for times in (1, 2):
            wait_until(lambda: seen(flaky, at_least=times * 10) and seen(steady, at_least=times * 10))  # noqa: B023
            flaky.kill()
            wait_until(lambda: seen(flaky, "lost", times))  # noqa: B023
            time.sleep(0.5)
            back = flaky.start()
            wait_until(lambda: seen(flaky, "recovered", times))  # noqa: B023
            again = [r for r in records(file) if r.get("event") == "recovered"][-1]
            recovery.append(seconds_of(again["utc"]) - back)
        before = len(records(file))
        wait_until(lambda: len(records(file)) > before + 20)
        run.send_signal(signal.SIGINT)
        assert run.wait(PATIENCE_S) == 130
    finally:
        run.kill()
        run.wait()

    for seconds in recovery:
        record_property("seconds until a stream was read again", f"{seconds:.1f}")
        assert seconds < PROMISED_S
    by_camera = {
        camera: [r for r in records(file) if f":{camera.port}/" in r["path"]] for camera in (steady, flaky)
    }
    assert [r["event"] for r in by_camera[steady] if "event" in r] == ["opened"]
    events = [r for r in by_camera[flaky] if "event" in r]
    assert [r["event"] for r in events] == ["opened", "lost", "recovered", "lost", "recovered"]
    assert all(r["gap_ms"] > 500 for r in events if r["event"] == "recovered")
    for found in by_camera.values():
        indices = [r["frame_index"] for r in found if "event" not in r]
        assert indices == list(range(len(indices)))
    # What the picture itself says: the numbers that the steady camera drew in, one after the other.
    numbers = [number_of(frame.image) for frame in written_frames(tmp_path / "run", steady.port)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert len(numbers) == sum("event" not in r for r in by_camera[steady])
    console_text = output.read_text(encoding="utf-8")
    assert "lost after" in console_text
    assert "there again, after a gap of" in console_text
    assert "gaps: 2" in console_text
    assert isinstance(
        json.loads((tmp_path / "run" / "predictions_coco.json").read_text(encoding="utf-8")), list
    )


def written_frames(folder: Path, port: int) -> list[Any]:
    (item,) = open_source(folder / f"127_0_0_1_{port}_now.webm").videos
    reader = open_video(item)
    frames = list(reader.frames())
    reader.close()
    return frames
