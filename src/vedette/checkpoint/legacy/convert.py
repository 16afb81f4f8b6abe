"""Others' checkpoints to ours, in a process of its own that has little memory, little time and nothing to call."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vedette.checkpoint.deployable import LoadedDetector, load_detector
from vedette.checkpoint.legacy.fingerprint import sha256_of
from vedette.data.cache_folder import cache_folder
from vedette.errors import CheckpointError, ConfigError, ModelError, VedetteError, WriteError

SCHEMA = 1
"""Version of what is written; files in the cache that another version wrote are not used."""
MAX_WALL_SECONDS = 600

# An empty entry is the working directory, where a stranger's `torch.py` may lie. The argument is where this very
# vedette lies, which need not be installed, nor be the one that is.
_START = (
    "import sys; known = [place for place in sys.path if place]; "
    "sys.path[:] = [home for home in sys.argv[1:] if home not in known] + known; "
    "from vedette.checkpoint.legacy.child import main; sys.exit(main())"
)
_HOME = Path(__file__).resolve().parents[3]
_ERRORS: dict[str, type[VedetteError]] = {
    "ConfigError": ConfigError,
    "ModelError": ModelError,
    "WriteError": WriteError,
}
"""What the other process may report besides a refused checkpoint."""


@dataclass(frozen=True, slots=True)
class Converted:
    """What was imported.

    Attributes:
        path: the deployable checkpoint that was written.
        name: of the architecture.
        class_names: by class id.
        facts: see :class:`vedette.checkpoint.legacy.meaning.LegacyCheckpoint`.
    """

    path: Path
    name: str
    class_names: tuple[str, ...]
    facts: dict[str, Any]


def convert(path: Path, output: Path, *, cfg: str = "", allow_nonfinite: bool = False) -> Converted:
    """Write a ``.pt`` checkpoint of YOLOv5 as a deployable one.

    Args:
        path: the checkpoint.
        output: the file to create or replace; its folder must exist.
        cfg: the model (name or YAML file) of a file that holds tensors only; empty to find it.
        allow_nonfinite: accept weights that are NaN or infinite.

    Raises:
        CheckpointError: the checkpoint is refused, see :func:`vedette.checkpoint.legacy.read.read_legacy`.
        ModelError: there is no model ``cfg``, or its file is not accepted.
        ConfigError: the file ``cfg`` cannot be read.
        WriteError: the output could not be written.
    """
    path, output = Path(path), Path(output)
    if not output.parent.is_dir():
        raise WriteError(
            "cannot be written (its folder does not exist)", where=output, fix="create the folder"
        )
    request = {
        "path": str(path),
        "output": str(output),
        "cfg": cfg,
        "allow_nonfinite": allow_nonfinite,
        "sha256": sha256_of(path),
    }
    answer = _ask(request, path)
    if "error" in answer:
        error = answer["error"]
        raise _ERRORS.get(error["kind"], CheckpointError)(
            error["what"], where=error["where"], fix=error["fix"]
        )
    return Converted(output, answer["name"], tuple(answer["class_names"]), answer["facts"])


def load_converted(path: Path) -> LoadedDetector:
    """The detector of a ``.pt`` checkpoint; a copy of it is kept in the cache folder under the SHA-256 of its bytes.

    Where nothing can be cached the checkpoint is converted every time.

    Raises:
        CheckpointError: the checkpoint is refused.
    """
    path, folder = Path(path), cache_folder()
    if folder is not None:
        kept = folder / "imported" / f"{sha256_of(path)}-{SCHEMA}.safetensors"
        with contextlib.suppress(OSError, CheckpointError, WriteError):
            return load_detector(kept)
        with contextlib.suppress(OSError, WriteError):
            kept.parent.mkdir(parents=True, exist_ok=True)
            return load_detector(convert(path, kept).path)
    with tempfile.TemporaryDirectory(prefix="vedette-") as temporary:
        return load_detector(convert(path, Path(temporary) / "imported.safetensors").path)


def _ask(request: dict[str, Any], path: Path) -> dict[str, Any]:
    try:
        done = subprocess.run(
            [sys.executable, "-c", _START, str(_HOME)],
            input=json.dumps(request).encode("ascii"),
            capture_output=True,
            timeout=MAX_WALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CheckpointError(f"was not read after {MAX_WALL_SECONDS} seconds", where=path) from None
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no message"]
        raise CheckpointError(
            f"made its reader stop (exit code {done.returncode}: {last[0][:200]}); nothing was imported",
            where=path,
            fix="the file may be an attack, or too large for the limits of docs/import.md",
        )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
