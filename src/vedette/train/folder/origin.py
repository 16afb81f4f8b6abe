"""Was a run begun here? Only then does a resumption send things away as the settings in its folder say.

A run folder may come from anybody. Its ``config.yaml`` can name trackers and a bucket, and a resumed run would use them
with the credentials of whoever resumes it. So when a run begins, the record of what this user wrote on this machine
(:mod:`vedette.checkpoint.exported.record`) gets an entry for its folder and the settings in question. Where there is
no such entry, these settings count only if the command that resumes names them again. See ``docs/decisions``: "What a
run sends away is named here".
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Collection, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from vedette.checkpoint.exported.record import record_written, was_written_here
from vedette.config.train import TrainConfig
from vedette.errors import UsageError, WriteError
from vedette.track.run_identity import read_identity, tracking_folder, write_identity

REACHING = ("track", "entity", "log_artifacts", "upload_dataset", "bucket")
"""Settings by which a run can send something beyond its folder. What is not set is empty or False."""

_STAYS_HERE = "tensorboard"
"""The tracker that writes files into the run folder and can do nothing else."""

_ON_WINDOWS = sys.platform == "win32"
_PLACEHOLDERS = {"entity": " OWNER", "bucket": " ADDRESS"}
_SHOWN = 80


def reaching_settings(config: TrainConfig) -> dict[str, Any]:
    """Those settings of :data:`REACHING` that are set, trackers without the one that sends nothing.

    And ``data``, if it is on another computer: Windows presents the user to that before it reads anything.
    """
    values = {name: getattr(config, name) for name in REACHING}
    values["track"] = _away(config)
    values["data"] = config.data if is_on_another_computer(config.data) else ""
    return {name: value for name, value in values.items() if value}


def is_on_another_computer(path: str) -> bool:
    r"""Whether the path says so itself: ``\\HOST\share`` on Windows. A folder that is mounted elsewhere looks local."""
    return _ON_WINDOWS and PureWindowsPath(path).drive.startswith("\\\\")


def note_origin(folder: Path, config: TrainConfig) -> tuple[str, ...]:
    """Remember that a run with these settings was begun in ``folder``, and settle its folder of trackers.

    Returns:
        What the user should be warned of.

    Raises:
        OSError: what trackers of another place left cannot be moved.
    """
    if not reaching_settings(config):
        return ()
    try:
        record_written(_run_entry(folder, config))
    except WriteError as error:
        return (
            f"that this run was begun here cannot be remembered ({error.what}); whoever resumes it has to name "
            f"{_flags(reaching_settings(config))} again",
            *settle_tracking(folder, config),
        )
    return settle_tracking(folder, config)


def trusted_settings(
    folder: Path, stored: TrainConfig, given: Collection[str]
) -> tuple[TrainConfig, dict[str, Any]]:
    """The settings of a run to resume, and what of them was left off because the run was begun elsewhere.

    Args:
        folder: of the run.
        stored: its settings.
        given: settings that the command names; they take the place of the stored ones, whatever these are.

    Raises:
        UsageError: the data set is on another computer, and neither is the run of here nor does the command name it.
    """
    if was_written_here(_run_entry(folder, stored)):
        return stored, {}
    left_off = {name: value for name, value in reaching_settings(stored).items() if name not in given}
    if "data" in left_off:
        raise UsageError(
            f"was not begun here by you, and its data set is on another computer ({_shown('data', stored.data)})",
            where=folder,
            fix="if that computer is to be asked, name it again: --data PATH",
        )
    plain = {name: TrainConfig.model_fields[name].default for name in left_off}
    if "track" in left_off:
        plain["track"] = tuple(name for name in stored.track if name == _STAYS_HERE)
    return stored.model_copy(update=plain), left_off


def settle_tracking(folder: Path, config: TrainConfig) -> tuple[str, ...]:
    """Let trackers begin anew in a folder in which they kept something, unless they did so here.

    A store of MLflow says itself where it sends files, so one from elsewhere is moved aside. What is taken over is
    which run it is: W&B and a server of MLflow then go on with it, for whoever has a login there.

    Returns:
        What the user should be warned of.

    Raises:
        OSError: it cannot be moved.
    """
    if not _away(config):
        return ()
    place, entry = tracking_folder(folder), _entry("tracking", folder, {})
    warnings: tuple[str, ...] = ()
    if place.exists() and not was_written_here(entry):
        identities = {name: read_identity(place / name) for name in ("wandb.json", "mlflow.json")}
        aside = _unused(place)
        place.rename(aside)
        for name, values in identities.items():
            if values and not values.get("tracking_uri", "").startswith("sqlite:"):
                write_identity(place / name, values)
        warnings = (f"what trackers kept here on another machine is now in {aside.name}",)
    with contextlib.suppress(WriteError):  # without a record they begin anew the next time, too
        record_written(entry)
    return warnings


def left_off_warning(folder: Path, left_off: Mapping[str, Any]) -> str:
    """What to tell whoever resumes a run of which something was left off."""
    shown = ", ".join(_shown(name, value) for name, value in left_off.items())
    return (
        f"{folder.as_posix()}: this run was not begun here by you, so what it would send away is left off: {shown}. "
        f"To use it, name it again: --resume {folder.as_posix()} {_flags(left_off)}"
    )


def _away(config: TrainConfig) -> tuple[str, ...]:
    return tuple(name for name in config.track if name != _STAYS_HERE)


def _run_entry(folder: Path, config: TrainConfig) -> bytes:
    # The project is part of the address at a tracker.
    return _entry("run", folder, {**reaching_settings(config), "project": config.project})


def _entry(kind: str, folder: Path, values: Mapping[str, Any]) -> bytes:
    """What is recorded; it begins as no file does that vedette opens."""
    content = {"folder": str(folder.resolve()), **values}
    return f"vedette: {kind}\n{json.dumps(content, sort_keys=True)}".encode()


def _shown(name: str, value: object) -> str:
    """For people; the text may be anybody's, so nothing in it reaches the terminal as it is."""
    if name == "track":
        return f"track {' '.join(value)}"  # type: ignore[arg-type]  # names that were checked
    return name if value is True else f"{name} {ascii(value)[:_SHOWN]}"


def _flags(values: Mapping[str, Any]) -> str:
    """The flags to name them by; values that may be anybody's are not in it, since it may be copied to a shell."""
    parts = []
    for name, value in values.items():
        rest = " " + " ".join(value) if name == "track" else _PLACEHOLDERS.get(name, "")
        parts.append(f"--{name.replace('_', '-')}{rest}")
    return " ".join(parts)


def _unused(place: Path) -> Path:
    """A name beside ``place`` that nothing has."""
    number = 1
    while (aside := place.with_name(f"{place.name}-elsewhere{number if number > 1 else ''}")).exists():
        number += 1
    return aside
