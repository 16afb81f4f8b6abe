import http.server
import io
import threading
import time

import numpy as np
import pytest
from PIL import Image as Pillow

from vedette.data.images import ImageLimits
from vedette.errors import ImageError
from vedette.infer.fetch import fetch, media_type
from vedette.infer.sources import open_source

MOST = 1_000_000


def png():
    data = io.BytesIO()
    Pillow.fromarray(np.full((4, 6, 3), 200, dtype=np.uint8)).save(data, "PNG")
    return data.getvalue()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.partition("?")[0]
        if path == "/moved.png":
            self.send_response(302)
            self.send_header("Location", "/a.png")
            self.end_headers()
        elif path == "/away.png":
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname")
            self.end_headers()
        elif path == "/ftp.png":
            self.send_response(302)
            self.send_header("Location", "ftp://127.0.0.1:1/a.png")
            self.end_headers()
        elif path == "/missing.png":
            self.send_error(404)
        else:
            self.send_response(200)
            self.send_header("Content-Type", "image/png" if path != "/text" else "text/html; charset=utf-8")
            self.end_headers()
            self.answer(path)

    def answer(self, path):
        try:
            if path == "/endless.png":
                while True:
                    self.wfile.write(bytes(100_000))
            if path == "/slow.png":
                for _ in range(400):
                    self.wfile.write(b"x")
                    time.sleep(0.02)
            self.wfile.write(png())
        except OSError:
            pass

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["/a.png", "/moved.png", "/a.png?token=1"])
def test_pictures_are_fetched(server, path):
    assert fetch(server + path, MOST) == png()
    (item,) = open_source(server + path).items
    assert item.load().shape == (4, 6, 3)


def test_the_server_says_what_it_has(server):
    assert media_type(server + "/a.png") == "image/png"
    assert media_type(server + "/text") == "text/html"
    assert media_type(server + "/missing.png") == ""
    assert media_type("http://127.0.0.1:1/x") == ""
    (item,) = open_source(server + "/now").items
    assert item.load().shape == (4, 6, 3)


def test_more_bytes_than_a_picture_may_have(server):
    with pytest.raises(ImageError, match="more than 1000000 bytes") as caught:
        fetch(server + "/endless.png", 1_000_000)
    assert caught.value.kind == "too-large"


def test_a_server_that_drips(server):
    with pytest.raises(ImageError, match=r"not there after 0\.2 s"):
        fetch(server + "/slow.png", MOST, seconds=0.2)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/missing.png", "the server answers 404"),
        ("/away.png", "the server answers 302"),
        ("/ftp.png", "unknown url type: ftp"),
    ],
)
def test_answers_that_are_no_picture(server, path, reason):
    with pytest.raises(ImageError, match=reason):
        fetch(server + path, MOST)


def test_no_answer_and_no_password_in_the_message():
    with pytest.raises(ImageError) as caught:
        fetch("http://127.0.0.1:1/a.png?token=geheim", MOST)
    assert "cannot be fetched" in str(caught.value)
    assert "token=***" in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_what_is_fetched_is_checked_like_a_file(server):
    (item,) = open_source(server + "/a.png?x=/text").items
    with pytest.raises(ImageError) as caught:
        item.load(ImageLimits(max_pixels=5))
    assert caught.value.kind == "too-large"
