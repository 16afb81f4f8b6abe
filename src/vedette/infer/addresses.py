"""Addresses of pictures, videos and streams: which are opened, how they are shown, what their results are called.

Addresses of cameras often hold passwords. What is printed and written never does; only what opens them sees those.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

SCHEMES = ("http", "https", "rtsp", "rtsps", "rtmp", "rtmps")
"""What an address begins with, in any case."""

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_SECRET_QUERY = re.compile(
    r"([?&;][^=&;#]*(?:pass|pwd|token|secret|key|auth|sig|credential)[^=&;#]*=)[^&;#]*", re.IGNORECASE
)
_NOT_IN_NAMES = re.compile(r"[^0-9A-Za-z_-]+")
_LONGEST_NAME = 80


def is_address(text: str) -> bool:
    """Whether the text begins with a scheme, known or not, so that it is no path; a drive letter is none."""
    return bool(_ADDRESS.match(text))


def scheme_of(address: str) -> str:
    """The scheme in lower case: ``rtsp``."""
    return address.partition("://")[0].lower()


def shown(address: str) -> str:
    """The address without user, password and values that look like secrets: ``rtsp://***@host/1?token=***``."""
    scheme, separator, rest = address.partition("://")
    host, slash, tail = re.split(r"([/?#]|$)", rest, maxsplit=1)
    if "@" in host:
        host = "***@" + host.rpartition("@")[2]
    return scheme + separator + host + _SECRET_QUERY.sub(r"\1***", slash + tail)


def suffix_of(address: str) -> str:
    """The suffix of the file that the address names, in lower case, or ""."""
    return PurePosixPath(_path_of(address)).suffix.lower()


def file_name(address: str) -> str:
    """The name of the file behind the address, made safe; without one, that of a stream."""
    path = PurePosixPath(_path_of(address))
    if path.suffix:
        return _cleaned(path.stem) + "." + _cleaned(path.suffix)
    return stream_name(address)


def stream_name(address: str) -> str:
    """What the results of a stream are called: host and path with underscores, no secrets."""
    return _cleaned(shown(address).partition("://")[2].removeprefix("***@"))


def _path_of(address: str) -> str:
    try:
        return unquote(urlsplit(address).path)
    except ValueError:  # a damaged IPv6 host
        return ""


def _cleaned(text: str) -> str:
    return _NOT_IN_NAMES.sub("_", text).strip("_")[:_LONGEST_NAME] or "stream"
