"""A camera: a program that serves numbered pictures as Motion-JPEG over HTTP, to be killed and started again.

    python stream_server.py PORT PICTURES_A_SECOND [WIDTH HEIGHT [LAST]]

Every connection begins with picture 0. A picture shows its number as bars, black or white, lowest bit first, so
that who reads the stream can tell which pictures arrived.
"""

from __future__ import annotations

import http.server
import sys
import time

import cv2
import numpy as np

BITS = 16


def numbered(number: int, width: int = 160, height: int = 120) -> np.ndarray:
    """A picture BGR uint8 with its number in it."""
    bits = [255 * (number >> bit & 1) for bit in range(BITS)]
    row = np.repeat(np.array(bits, dtype=np.uint8), -(-width // BITS))[:width]
    return np.repeat(np.tile(row, (height, 1))[..., None], 3, axis=2)


def number_of(picture: np.ndarray) -> int:
    """The number that a picture shows, whatever became of its size and exact values."""
    width = picture.shape[1]
    step = -(-width // BITS)
    columns = [min(step * bit + step // 2, width - 1) for bit in range(BITS)]
    return sum(
        int(picture[picture.shape[0] // 2, column, 0] > 127) << bit for bit, column in enumerate(columns)
    )


class Camera(http.server.BaseHTTPRequestHandler):
    rate = 25.0
    size = (160, 120)
    last = 1 << BITS

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
        self.end_headers()
        begun = time.monotonic()
        for number in range(self.last):
            time.sleep(max(0.0, begun + number / self.rate - time.monotonic()))
            data = cv2.imencode(".jpg", numbered(number, *self.size))[1].tobytes()
            head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            try:
                self.wfile.write(head.encode("ascii") + data + b"\r\n")
            except OSError:
                return

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True


def main(arguments: list[str]) -> None:
    port, rate, *more = arguments
    Camera.rate = float(rate)
    if more:
        Camera.size = (int(more[0]), int(more[1]))
    if len(more) > 2:
        Camera.last = int(more[2])
    Server(("127.0.0.1", int(port)), Camera).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
