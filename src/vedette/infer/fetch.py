"""Pictures from http and https addresses that the user named, with limits on bytes and on time."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from typing import Any

from vedette.errors import ImageError
from vedette.infer.addresses import shown

TOTAL_SECONDS = 60.0
"""From the request to the last byte."""

_SILENT_SECONDS = 15.0
_QUESTION_SECONDS = 4.0
_PART_BYTES = 1 << 16
_HEADERS = {"User-Agent": "vedette", "Accept": "*/*"}
_FAILURES = (urllib.error.URLError, http.client.HTTPException, OSError, ValueError)


def fetch(address: str, most_bytes: int, *, seconds: float = TOTAL_SECONDS) -> bytes:
    """The bytes behind an address; redirections are followed to http and https only.

    Raises:
        ImageError: no answer, an error as the answer, more bytes than ``most_bytes``, or a longer wait than
            ``seconds``.
    """
    deadline = time.monotonic() + seconds
    parts, length = list[bytes](), 0
    try:
        with _opened(address, min(_SILENT_SECONDS, seconds)) as reply:
            while part := reply.read1(_PART_BYTES):
                parts.append(part)
                length += len(part)
                if length > most_bytes:
                    raise ImageError(f"more than {most_bytes} bytes", where=shown(address), kind="too-large")
                if time.monotonic() > deadline:
                    raise TimeoutError
    except _FAILURES as error:
        if time.monotonic() > deadline:  # between two parts, or in the middle of one
            raise ImageError(f"not there after {seconds:g} s", where=shown(address)) from None
        raise ImageError(f"cannot be fetched ({_reason(error)})", where=shown(address)) from None
    return b"".join(parts)


def media_type(address: str) -> str:
    """What the server says is behind the address, such as ``image/jpeg``; "" if it says nothing in a few seconds."""
    try:
        with _opened(address, _QUESTION_SECONDS) as reply:
            return str(reply.headers.get_content_type())
    except _FAILURES:
        return ""


def _opened(address: str, seconds: float) -> Any:
    request = urllib.request.Request(address, headers=_HEADERS)
    return _opener().open(request, timeout=seconds)


def _opener() -> urllib.request.OpenerDirector:
    """Python's own, without ftp, files and data in the address, to which an answer could lead."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code}"
    reason = getattr(error, "reason", error)
    text = getattr(reason, "strerror", None) or str(reason)
    return " ".join(text.split())[:200] or type(error).__name__
