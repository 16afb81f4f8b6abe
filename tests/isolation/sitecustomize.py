"""Loaded by every Python process the tests start: the same network block as in the tests themselves."""

import socket

_connect = socket.socket.connect


def _loopback_only(self, address):
    host = address[0] if isinstance(address, tuple) else ""
    if self.family in (socket.AF_INET, socket.AF_INET6) and host not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"the tests forbid connections beyond loopback: {address!r}")
    return _connect(self, address)


socket.socket.connect = _loopback_only
