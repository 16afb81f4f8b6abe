"""Where vedette may keep files it can rebuild: one folder, never created before something is written to it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

CACHE_VARIABLE = "VEDETTE_CACHE_DIR"


def cache_folder(environment: Mapping[str, str] | None = None, platform: str = sys.platform) -> Path | None:
    r"""The cache folder of this user; it need not exist.

    ``VEDETTE_CACHE_DIR`` decides if set. Otherwise the platform's convention: ``%LOCALAPPDATA%\vedette`` on
    Windows, ``~/Library/Caches/vedette`` on macOS, ``$XDG_CACHE_HOME/vedette`` or ``~/.cache/vedette``
    elsewhere.

    Args:
        environment: the variables to look at; those of the process if None.
        platform: as ``sys.platform``.

    Returns:
        None where there is neither a variable nor a home folder: then nothing is cached.
    """
    variables = os.environ if environment is None else environment
    if variables.get(CACHE_VARIABLE):
        return Path(variables[CACHE_VARIABLE]).expanduser().absolute()
    base = _platform_base(variables, platform)
    return None if base is None else base / "vedette"


def _platform_base(variables: Mapping[str, str], platform: str) -> Path | None:
    variable = "LOCALAPPDATA" if platform == "win32" else "XDG_CACHE_HOME"
    named = variables.get(variable, "")
    # The XDG convention says that a relative path is to be ignored.
    if platform != "darwin" and named and Path(named).is_absolute():
        return Path(named)
    try:
        home = Path.home()
    except RuntimeError:
        return None
    parts = {"win32": ("AppData", "Local"), "darwin": ("Library", "Caches")}.get(platform, (".cache",))
    return home.joinpath(*parts)
