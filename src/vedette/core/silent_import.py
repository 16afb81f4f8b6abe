"""Importing packages that would tell their makers of it.

OpenVINO and NNCF count their imports and conversions over the network, under an identity that they keep in the home
folder, unless the module they do it with is missing; then they go on without. So it is missing while they are imported.
"""

from __future__ import annotations

import importlib
import sys
import threading
from types import ModuleType

_REPORTER = "openvino_telemetry"
_ONE_AT_A_TIME = threading.Lock()


def import_silently(name: str) -> ModuleType:
    """The module of that name; if it was imported before, by whomever, it is as it was.

    Raises:
        ImportError: it is not installed.
    """
    with _ONE_AT_A_TIME:
        known = _REPORTER in sys.modules
        before = sys.modules.get(_REPORTER)
        sys.modules[_REPORTER] = None  # type: ignore[assignment]  # the documented way to make an import fail
        try:
            return importlib.import_module(name)
        finally:
            del sys.modules[_REPORTER]
            if known and before is not None:
                sys.modules[_REPORTER] = before
