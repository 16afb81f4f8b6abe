"""A written video in a real browser: it plays, and shows each picture at its time."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.flow.browser import open_browser
from tests.infer.colour_backend import colour_predictor
from tests.infer.video.clips import VARIABLE_MS, write_clip
from tests.infer.video.stream_server import BITS, numbered
from vedette.config.detect import DetectConfig
from vedette.infer import video_writer
from vedette.infer.run import detect

SHOWN = """async ([data, bits]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const video = document.createElement("video");
  video.muted = true;
  const happened = (name) => new Promise((done, fail) => {
    video.addEventListener(name, done, {once: true});
    video.addEventListener("error", () => fail(new Error(video.error.message)), {once: true});
  });
  const loaded = happened("loadedmetadata");
  video.src = URL.createObjectURL(new Blob([bytes], {type: "video/webm"}));
  await loaded;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  const context = canvas.getContext("2d", {willReadFrequently: true});
  const seen = [];
  const look = (_, metadata) => {
    context.drawImage(video, 0, 0);
    const step = Math.ceil(canvas.width / bits);
    let number = 0;
    for (let bit = 0; bit < bits; bit++) {
      const place = [Math.min(step * bit + (step >> 1), canvas.width - 1), canvas.height >> 1];
      number += (context.getImageData(...place, 1, 1).data[0] > 127) << bit;
    }
    seen.push([number, metadata.mediaTime * 1000]);
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
  document.body.append(video);
  const ended = happened("ended");
  await video.play();
  await ended;
  return {seen, width: video.videoWidth, height: video.videoHeight, duration: video.duration};
}"""
"""Plays the video and returns [number in the picture, its time in ms] of every picture that came to the screen."""


@pytest.mark.parametrize("decoder", ["pyav", "opencv"])
def test_a_written_video_plays_in_a_browser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoder: str
) -> None:
    monkeypatch.setattr(video_writer, "pyav_is_installed", lambda: decoder == "pyav")
    times = VARIABLE_MS if decoder == "pyav" else [40 * number for number in range(20)]
    clip = write_clip(tmp_path / "clip.mp4", times, lambda number: numbered(number, 320, 240), "mpeg4")
    config = DetectConfig(source=str(clip), project=str(tmp_path / "runs"))
    written = detect(config, predictor=colour_predictor()).folder / "clip.webm"
    data = base64.b64encode(written.read_bytes()).decode("ascii")
    with open_browser() as browser:
        page = browser.new_page()
        seen = page.evaluate(SHOWN, [data, BITS])
    # A busy machine does not show every picture; those it shows have their times.
    assert len(seen["seen"]) >= 3
    for number, time_ms in seen["seen"]:
        assert time_ms == pytest.approx(times[number], abs=1 if decoder == "pyav" else 20)
    assert (seen["width"], seen["height"]) == (320, 240)
    assert times[-1] / 1000 <= seen["duration"] <= times[-1] / 1000 + 0.2
