"""No lost run: killed or stopped at any moment, a run goes on to the bits it would have had."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.flow.faults import KILL
from tests.flow.small_runs import SmallRuns, intact_files

Record = Callable[[str, object], None]


@pytest.fixture
def long(pytestconfig: pytest.Config) -> bool:
    """Whether there is time to be thorough."""
    return bool(pytestconfig.getoption("--long"))


def test_killed_at_random_moments(
    small_runs: SmallRuns, tmp_path: Path, long: bool, record_property: Record
) -> None:
    """Half of the kills come by the clock, half at a random call that writes, makes durable or renames a file."""
    wanted, moments = (50 if long else 10), random.Random(11)
    seconds = _duration(small_runs, tmp_path / "timed" / "exp")
    kills: Counter[str] = Counter()
    for number in range(1000):
        folder = tmp_path / f"run{number}" / "exp"
        while kills.total() < wanted and not (folder / "summary.json").exists():
            arguments = small_runs.again(folder)
            if "--resume" in arguments and long and moments.random() < 0.2:
                arguments += ["--workers", 1]
            by_clock = kills["by the clock"] <= kills["inside a call"]
            kind = "by the clock" if by_clock else "inside a call"
            kill = _kill_by_clock if by_clock else _kill_inside_a_call
            kills[kind] += kill(small_runs, arguments, folder, moments, seconds)
            intact_files(folder)
        small_runs.finish(folder)
        if kills.total() >= wanted:
            break
    assert kills.total() == wanted
    assert min(kills.values()) >= wanted // 2 - 1
    record_property("kills", wanted)
    record_property("runs that ended in the same bits", number + 1)


def _duration(small_runs: SmallRuns, folder: Path) -> float:
    began = time.monotonic()
    assert small_runs.launcher.run(small_runs.arguments(folder))[0] == 0
    return time.monotonic() - began


def _kill_by_clock(
    small_runs: SmallRuns, arguments: list[Any], folder: Path, moments: random.Random, seconds: float
) -> bool:
    pid = small_runs.launcher.start(arguments)
    time.sleep(moments.uniform(0.0, seconds))
    if small_runs.launcher.runs():
        os.kill(pid, signal.SIGKILL)
    code, output = small_runs.launcher.wait()
    assert code in (0, -signal.SIGKILL), output
    return code != 0


def _kill_inside_a_call(
    small_runs: SmallRuns, arguments: list[Any], folder: Path, moments: random.Random, seconds: float
) -> bool:
    call = moments.choice(("write", "write", "fsync", "replace"))
    number = moments.randint(1, small_runs.calls[call])
    fault = {"folder": str(folder.parent), "call": call, "number": number, "code": KILL}
    code, output = small_runs.launcher.run(arguments, fault)
    assert code in (0, -signal.SIGKILL), output
    return code != 0


def test_stopped_by_a_signal_at_random_moments(
    small_runs: SmallRuns, tmp_path: Path, long: bool, record_property: Record
) -> None:
    """The step in hand is finished, the state saved, the way to go on is said."""
    wanted, moments, stops = (20 if long else 4), random.Random(5), 0
    for number in range(200):
        signal_number = (signal.SIGTERM, signal.SIGINT)[number % 2]
        folder = tmp_path / f"run{number}" / "exp"
        code, output = _stop(small_runs, folder, signal_number, moments.uniform(0.0, 0.15))
        if code != 0:
            assert code == 128 + signal_number, output
            assert f"vedette train --resume {folder.as_posix()}" in output
            stops += 1
        assert len(intact_files(folder)) >= 1
        small_runs.finish(folder)
        if stops == wanted:
            break
    assert stops == wanted
    record_property("stops", stops)


def _stop(small_runs: SmallRuns, folder: Path, number: int, delay: float) -> tuple[int, str]:
    pid, log = small_runs.launcher.start(small_runs.arguments(folder)), folder / "events.jsonl"
    while small_runs.launcher.runs() and not (log.exists() and "RunStarted" in log.read_text("utf-8")):
        time.sleep(0.005)
    time.sleep(delay)
    if small_runs.launcher.runs():
        os.kill(pid, number)
    return small_runs.launcher.wait()


def test_every_start_is_in_the_manifest(small_runs: SmallRuns, tmp_path: Path) -> None:
    """A run killed once was started twice; a command line and the state of the software stand for each."""
    folder = tmp_path / "run" / "exp"
    # The first save of a state is done by the second renaming of a state file.
    fault = {"folder": str(folder / "state"), "call": "replace", "number": 2, "code": KILL}
    assert small_runs.launcher.run(small_runs.arguments(folder), fault)[0] == -signal.SIGKILL
    small_runs.finish(folder)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    first, second = manifest["starts"]
    assert (first["step"], second["step"]) == (0, 1)
    assert first["command"][:3] == ["vedette", "train", "--data"]
    assert second["command"][:3] == ["vedette", "train", "--resume"]
    assert first["versions"]["torch"] == second["versions"]["torch"]


def test_another_seed_is_noticed(small_runs: SmallRuns, tmp_path: Path) -> None:
    """Negative control of the comparison that all of this rests on."""
    folder = tmp_path / "run" / "exp"
    code, output = small_runs.launcher.run(small_runs.arguments(folder, "--seed", 1))
    assert code == 0, output
    with pytest.raises(AssertionError):
        small_runs.assert_same_bits(folder)
