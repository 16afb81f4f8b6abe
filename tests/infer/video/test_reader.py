import http.server
import socket
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import cv2
import pytest

from tests.infer.video.clips import VARIABLE_MS, cut, noise, pyav, write_clip
from tests.infer.video.stream_server import number_of, numbered
from vedette.errors import DataError
from vedette.infer.sources import open_source
from vedette.infer.video import reader as reader_module
from vedette.infer.video.reader import VideoItem, check_signature, open_video

DECODERS = ["pyav", "opencv"]
CONTAINERS = [("clip.webm", "libvpx"), ("clip.mp4", "mpeg4"), ("clip.mkv", "mpeg4"), ("clip.avi", "mpeg4")]
CONTAINERS += [("clip.ts", "mpeg4"), ("clip.mov", "mpeg4")]


def read(path, decoder, stride=1):
    """All pictures of a file, and what was wrong at its end."""
    if decoder == "pyav":
        pyav()
    (item,) = open_source(path).videos
    frames, error = [], None
    try:
        reader = open_video(item, decoder=decoder)
    except DataError as failure:
        return frames, failure
    try:
        for frame in reader.frames(stride):
            frames.append(frame)
    except DataError as failure:
        error = failure
    finally:
        reader.close()
    return frames, error


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(("name", "codec"), CONTAINERS)
def test_every_picture_with_its_number_and_time(tmp_path, name, codec, decoder):
    times = VARIABLE_MS
    path = write_clip(tmp_path / name, times, lambda n: numbered(n, 320, 96), codec)
    frames, error = read(path, decoder)
    assert error is None
    assert [number_of(frame.image) for frame in frames] == list(range(len(times)))
    assert [frame.index for frame in frames] == list(range(len(times)))
    assert [frame.time_ms for frame in frames] == pytest.approx(times, abs=1.0)
    assert {frame.image.shape for frame in frames} == {(96, 320, 3)}


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_stride_leaves_pictures_out_but_not_their_numbers(tmp_path, decoder):
    path = write_clip(tmp_path / "clip.webm", VARIABLE_MS)
    frames, _ = read(path, decoder, stride=4)
    assert [frame.index for frame in frames] == [0, 4, 8, 12]
    assert [number_of(frame.image) for frame in frames] == [0, 4, 8, 12]
    assert [frame.time_ms for frame in frames] == pytest.approx(VARIABLE_MS[::4], abs=1.0)


@pytest.mark.parametrize("decoder", DECODERS)
def test_colours_are_red_green_blue(tmp_path, decoder):
    def red(_):
        picture = noise(0) * 0
        picture[..., 0] = 220
        return picture

    frames, _ = read(write_clip(tmp_path / "red.mp4", [0, 40], red, "mpeg4"), decoder)
    mean = frames[1].image.mean(axis=(0, 1))
    assert mean == pytest.approx([220, 0, 0], abs=8)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", ["clip.webm", "clip.mkv", "clip.avi", "begun.mp4", "clip.mp4"])
def test_a_video_that_is_cut_off_is_named_behind_its_last_picture(tmp_path, name, decoder):
    options = {"movflags": "faststart"} if name == "begun.mp4" else {}
    codec = "libvpx" if name == "clip.webm" else "mpeg4"
    times = [100 * number for number in range(40)]
    path = write_clip(tmp_path / name, times, noise, codec, **options)
    whole, error = read(path, decoder)
    assert (len(whole), error) == (40, None)
    frames, error = read(cut(path, 0.5), decoder)
    assert str(path.as_posix()) in str(error)
    assert "copy it again" in str(error)
    # The index of an MP4 that was not made for streaming is at its end.
    assert len(frames) == 0 if name == "clip.mp4" else 10 < len(frames) < 30


def test_damaged_parts_are_counted(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", [40 * number for number in range(40)], noise, "mpeg4")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = bytes(range(250)) * 12
    path.write_bytes(data)
    frames, error = read(path, "pyav")
    assert "damaged parts" in str(error)
    assert 30 <= len(frames) <= 40
    assert frames[-1].time_ms == pytest.approx(39 * 40, abs=1)


def test_a_picture_that_lies_on_its_side_is_turned_the_same_by_both(tmp_path):
    """Telephones store a matrix that says how to hold the picture."""
    path = write_clip(tmp_path / "clip.mp4", [0, 40], lambda n: numbered(5, 160, 120), "mpeg4")
    data = path.read_bytes()
    header = data.index(b"tkhd")
    upright = b"".join(value.to_bytes(4, "big", signed=True) for value in (65536, 0, 0, 0, 65536, 0))
    turned = b"".join(value.to_bytes(4, "big", signed=True) for value in (0, 65536, 0, -65536, 0, 0))
    position = data.index(upright, header)
    path.write_bytes(data[:position] + turned + data[position + len(turned) :])
    (exact, _), (usual, _) = (read(path, decoder) for decoder in DECODERS)
    assert exact[0].image.shape == usual[0].image.shape == (160, 120, 3)
    # The bars that ran from left to right run from top to bottom: a quarter turn clockwise.
    column = exact[0].image[:, 60, 0] > 127
    assert column.tolist() == (numbered(5, 160, 120)[60, :, 0] > 127).tolist()
    assert (abs(exact[0].image.astype(int) - usual[0].image) < 12).mean() > 0.99


def test_enormous_pictures_are_refused_before_they_are_converted(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "clip.webm", [0, 40])
    for decoder in DECODERS:
        monkeypatch.setattr(f"vedette.infer.video.{decoder}.MAX_PIXELS", 160 * 120 - 1)
        frames, error = read(path, decoder)
        assert not frames
        assert "160 x 120 pixels, more than" in str(error)


HOSTILE = {
    "playlist.mp4": b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n",
    "concat.mp4": b"ffconcat version 1.0\nfile secret.webm\n",
    "picture.mp4": b"\xff\xd8\xff\xe0" + bytes(600),
    "text.avi": b"hello, world\n" * 100,
    "sdp.mkv": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\n",
    "empty.webm": b"",
}


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_what_is_no_container_is_not_given_to_a_decoder(tmp_path, name, decoder):
    write_clip(tmp_path / "secret.webm", [0, 40])
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        port = str(server.getsockname()[1]).encode()
        (tmp_path / name).write_bytes(HOSTILE[name].replace(b"{port}", port))
        frames, error = read(tmp_path / name, decoder)
        with pytest.raises(BlockingIOError):  # nobody is waiting to be let in
            server.accept()
    assert frames == []
    assert "is not a video" in str(error) or "is empty" in str(error)


def test_without_the_check_a_decoder_would_open_other_files(tmp_path, monkeypatch):
    """The negative control of the test above; PyAV is also told which formats there are."""
    write_clip(tmp_path / "secret.webm", [0, 40])
    (tmp_path / "concat.mp4").write_bytes(HOSTILE["concat.mp4"])
    monkeypatch.setattr(reader_module, "check_signature", lambda *_: None)
    assert len(read(tmp_path / "concat.mp4", "opencv")[0]) == 2
    frames, error = read(tmp_path / "concat.mp4", "pyav")
    assert frames == []
    assert "cannot be read as a video" in str(error)


def test_missing_files_folders_and_pipes(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        check_signature(tmp_path / "gone.mp4", "gone.mp4")
    with pytest.raises(DataError, match="no regular file"):
        check_signature(tmp_path, "folder")
    (tmp_path / "sound.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(100))
    for decoder in DECODERS:
        frames, error = read(tmp_path / "sound.mp4", decoder)
        assert not frames
        assert "sound.mp4" in str(error)


@contextmanager
def camera(*pictures, then="end"):
    """An address that serves pictures as Motion-JPEG, then ends, or says nothing more."""
    held = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
            self.end_headers()
            for picture in pictures:
                data = cv2.imencode(".jpg", picture)[1].tobytes()
                head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                self.wfile.write(head.encode() + data + b"\r\n")
            if then == "silence":
                held.wait(20)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        port = server.server_address[1]
        yield VideoItem("camera", Path("camera"), f"http://127.0.0.1:{port}/now", "stream")
        held.set()
        server.shutdown()
        thread.join()


def streamed(item, decoder, timeout_s=5.0):
    """Pictures of a stream, and its error."""
    if decoder == "pyav":
        pyav()
    frames, error = [], None
    reader = open_video(item, timeout_s=timeout_s, decoder=decoder)
    assert not reader.finite
    try:
        frames.extend(reader.frames())
    except DataError as failure:
        error = failure
    finally:
        reader.close()
    return frames, error


def test_a_stream_may_change_its_size():
    sizes = [(160, 120)] * 3 + [(320, 240)] * 3 + [(160, 120)] * 3
    with camera(*[numbered(number, *size) for number, size in enumerate(sizes)]) as item:
        frames, _ = streamed(item, "pyav")
    assert [number_of(frame.image) for frame in frames] == list(range(9))
    assert [frame.image.shape[1::-1] for frame in frames] == sizes


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_stream_that_falls_silent_is_lost_after_the_time_out(decoder):
    pictures = [numbered(number) for number in range(10)]
    with camera(*pictures, then="silence") as item:
        frames, error = streamed(item, decoder, timeout_s=0.5)
    assert [number_of(frame.image) for frame in frames] == list(range(len(frames)))
    assert len(frames) >= 8
    if decoder == "pyav":
        assert str(error) == "camera: no answer for 0.5 s"


@pytest.mark.parametrize("decoder", DECODERS)
def test_an_address_that_does_not_answer_is_named_without_its_password(decoder):
    if decoder == "pyav":
        pyav()
    item = VideoItem("rtsp://***@host/1", Path("host"), "rtsp://admin:geheim@127.0.0.1:1/1", "stream")
    with pytest.raises(DataError) as caught:
        open_video(item, timeout_s=1.0, decoder=decoder)
    assert str(caught.value).startswith("rtsp://***@host/1: the connection failed")
    assert "geheim" not in str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="macOS and Windows have cameras of other numbers")
def test_a_camera_that_is_not_there():
    (item,) = open_source("97").streams
    with pytest.raises(DataError, match="97: there is no such camera"):
        open_video(item)
