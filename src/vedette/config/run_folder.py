"""Where a run writes: ``PROJECT/NAME``, or the next free ``PROJECT/NAME2``, ``NAME3`` … (inference.md section 5)."""

from __future__ import annotations

import re
from pathlib import Path

from vedette.errors import UsageError, WriteError

_ATTEMPTS = 100


def next_run_folder(project: str | Path, name: str, exist_ok: bool = False) -> Path:
    """The folder that a new run called ``name`` gets; nothing is created.

    If ``project/name`` is taken, the highest number that follows exactly ``name`` in ``project`` is raised by
    one, starting at 2. The number is looked for after the whole last component, dots included: ``my.run``
    and ``my.run2`` give ``my.run3``.

    Args:
        project: folder that holds the runs; it need not exist.
        name: name of the run; may hold folders (``group/exp``).
        exist_ok: take ``project/name`` even if it exists.

    Raises:
        UsageError: the name is empty or has no last component (``.``, ``..``).
    """
    folder = Path(project) / name
    if not name.strip() or folder.name in {"", ".."} or folder == Path(project):
        raise UsageError(
            f"{name!r} is not a name for a folder", where="--name", fix="give a plain name such as exp"
        )
    if exist_ok or not _exists(folder):
        return folder
    numbered = re.compile(re.escape(folder.name) + r"([0-9]+)", re.IGNORECASE)
    matches = (numbered.fullmatch(entry.name) for entry in folder.parent.iterdir())
    highest = max((int(match[1]) for match in matches if match), default=1)
    return folder.with_name(f"{folder.name}{max(highest, 1) + 1}")


def create_run_folder(project: str | Path, name: str, exist_ok: bool = False) -> Path:
    """Create and return the folder of a new run. Two runs that start at the same moment get different ones.

    Raises:
        UsageError: the name is not a folder name.
        WriteError: the folder cannot be created.
    """
    for _ in range(_ATTEMPTS):
        folder = next_run_folder(project, name, exist_ok)
        try:
            folder.mkdir(parents=True, exist_ok=exist_ok)
        except FileExistsError:
            if exist_ok:
                raise WriteError(
                    "is a file, not a folder", where=folder, fix="give another --project or --name"
                ) from None
            continue
        except OSError as error:
            raise WriteError(
                f"the folder cannot be created ({error.strerror})", where=folder, fix="give another --project"
            ) from None
        return folder
    raise WriteError(f"no free folder was found in {_ATTEMPTS} attempts", where=Path(project) / name)


def _exists(folder: Path) -> bool:
    """True also for a dangling link, which ``Path.exists`` does not see."""
    return folder.exists() or folder.is_symlink()
