"""No lost run: whichever call to the disk fails, every checkpoint is whole and the run goes on to the same bits."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.flow.conftest import draw_rectangles
from tests.flow.faults import CALLS, EVERY, SHORT
from tests.flow.small_runs import SmallRuns, intact_files
from tests.flow.test_distributed import by_hand
from vedette.checkpoint.tensors import read_tensors
from vedette.errors import CheckpointError

Record = Callable[[str, object], None]

SURVIVED = "faults survived"


def _numbers(total: int, long: bool, few: int) -> list[int]:
    """All calls, or as many as ``few``, evenly spread, the first and the last among them."""
    if long:
        return (
            list(range(1, total + 1))
            if total <= 200
            else sorted(random.Random(3).sample(range(1, total + 1), 60))
        )
    return sorted({1 + round(step * (total - 1) / (few - 1)) for step in range(few)})


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        ("open", "EROFS", "Read-only file system"),
        ("mkdir", "ENOSPC", "No space left|disk full"),
        ("write", "ENOSPC", r"disk full: ([\d.]+ MB needed, )?[\d.]+ MB free; make room"),
        ("fsync", "EIO", "Input/output error"),
        ("replace", "EDQUOT", r"disk full: ([\d.]+ MB needed, )?[\d.]+ MB free; make room"),
    ],
    ids=CALLS,
)
def test_the_nth_call_fails(  # noqa: PLR0917  # fixtures and a row of the table
    small_runs: SmallRuns,
    tmp_path: Path,
    pytestconfig: pytest.Config,
    record_property: Record,
    call: str,
    code: str,
    words: str,
) -> None:
    numbers = _numbers(small_runs.calls[call], pytestconfig.getoption("--long"), few=3)
    failed = 0
    for number in numbers:
        folder = tmp_path / f"{call}{number}" / "exp"
        fault = {"folder": str(folder.parent), "call": call, "number": number, "code": code}
        exit_code, output = small_runs.launcher.run(small_runs.arguments(folder), fault)
        # Some calls may fail without harm: a folder that is there already, tidying up.
        assert exit_code in (0, 3), output
        if exit_code == 3:
            failed += 1
            _assert_explained(output, folder, words)
        intact_files(folder)
        small_runs.finish(folder)
    assert failed >= len(numbers) // 2
    record_property(SURVIVED, len(numbers))


def _assert_explained(output: str, folder: Path, words: str) -> None:
    """The last line names the file, the cause, and what to do; with a state, also how to go on."""
    line = output.strip().splitlines()[-1]
    assert "Traceback" not in output
    assert line.startswith(f"vedette: error: {folder}"), line
    assert re.search(words, line), line
    if any(folder.glob("state/state-*.safetensors")):
        assert f"go on with: vedette train --resume {folder.as_posix()}" in line


def test_of_two_ranks_both_end_with_the_disk_of_the_first(small_runs: SmallRuns, tmp_path: Path) -> None:
    """Only rank 0 writes. When it cannot, the other one does not wait for it, and the run can be taken up again."""
    folder = tmp_path / "run" / "exp"
    fault = {"folder": str(folder.parent), "call": "replace", "number": 9, "code": "ENOSPC"}
    command = [str(part) for part in small_runs.arguments(folder)]
    first, second = by_hand(
        lambda rank: (
            ["tests.flow.faults", json.dumps(fault), *command] if rank == 0 else ["vedette", *command]
        )
    )
    output, other = (process.communicate(timeout=300)[0] for process in (first, second))
    assert first.returncode == 3, output
    assert second.returncode not in (0, None), other
    _assert_explained(output, folder, "disk full")
    assert len(intact_files(folder)) >= 1
    code, output = small_runs.launcher.run(small_runs.again(folder))
    assert code == 0, output


def test_a_short_write_is_completed(small_runs: SmallRuns, tmp_path: Path) -> None:
    for number in (1, small_runs.calls["write"] // 2):
        folder = tmp_path / f"short{number}" / "exp"
        fault = {"folder": str(folder.parent), "call": "write", "number": number, "code": SHORT}
        exit_code, output = small_runs.launcher.run(small_runs.arguments(folder), fault)
        assert exit_code == 0, output
        small_runs.assert_same_bits(folder)


@pytest.mark.parametrize("call", ["write", "kill"])
def test_a_writer_that_works_in_place_would_be_noticed(
    small_runs: SmallRuns, tmp_path: Path, call: str
) -> None:
    """Negative control: with a careless writer the same faults leave broken checkpoints."""
    folder = tmp_path / "careless" / "exp"
    fault: dict[str, Any] = {
        "folder": str(folder.parent),
        "call": "write",
        "number": small_runs.calls["write"] // 2,
        "code": "KILL" if call == "kill" else "ENOSPC",
        "in_place": True,
    }
    assert small_runs.launcher.run(small_runs.arguments(folder), fault)[0] in (3, -9)
    with pytest.raises(CheckpointError):
        intact_files(folder)


def test_a_flipped_bit_of_any_checkpoint_is_refused(
    small_runs: SmallRuns, tmp_path: Path, pytestconfig: pytest.Config, record_property: Record
) -> None:
    """Bit rot in the state and in the weights; a plain reader of the same format notices most of it not."""
    wanted, chance = (1000 if pytestconfig.getoption("--long") else 40), random.Random(2)
    originals = sorted(small_runs.reference.glob("*/*.safetensors"))
    assert {path.parent.name for path in originals} == {"state", "weights"}
    accepted_by_plain_reader = 0
    for number in range(wanted):
        content = bytearray(originals[number % len(originals)].read_bytes())
        bit = chance.randrange(len(content) * 8)
        content[bit // 8] ^= 1 << bit % 8
        rotten = tmp_path / "rotten.safetensors"
        rotten.write_bytes(content)
        with pytest.raises(CheckpointError):
            read_tensors(rotten)
        with contextlib.suppress(Exception):
            load_file(rotten)
            accepted_by_plain_reader += 1
    assert accepted_by_plain_reader > wanted // 4
    record_property("flipped bits refused", wanted)


def test_a_data_set_is_never_written(small_runs: SmallRuns, tmp_path: Path) -> None:
    """Not one call that would change it: it may lie on a read-only disk."""
    data = draw_rectangles(tmp_path / "data", train=6, val=2, size=32)
    before, folder = _hashes(data.parent), tmp_path / "run" / "exp"
    fault = {"folder": str(data.parent), "number": EVERY, "code": "EROFS"}
    exit_code, output = small_runs.launcher.run(small_runs.arguments(folder, data=data), fault)
    assert exit_code == 0, output
    small_runs.assert_same_bits(folder)
    assert _hashes(data.parent) == before


def test_a_cache_folder_that_cannot_be_written(small_runs: SmallRuns, tmp_path: Path) -> None:
    """A run does without a cache; one that was asked to use it says why it cannot."""
    data, folder = draw_rectangles(tmp_path / "data", train=6, val=2, size=32), tmp_path / "run" / "exp"
    fault = {"folder": os.environ["VEDETTE_CACHE_DIR"], "number": EVERY, "code": "EROFS"}
    exit_code, output = small_runs.launcher.run(small_runs.arguments(folder, data=data), fault)
    assert exit_code == 0, output
    assert "is not cached" in output
    small_runs.assert_same_bits(folder)
    arguments = small_runs.arguments(tmp_path / "other" / "exp", "--cache", "disk", data=data)
    exit_code, output = small_runs.launcher.run(arguments, fault)
    assert exit_code == 3, output
    assert "set VEDETTE_CACHE_DIR to another folder" in output.splitlines()[-1]


def _hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@contextlib.contextmanager
def _small_disk(place: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own in memory. Needs root, on Linux."""
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs Linux and root")
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
    if subprocess.run([mount, *options], capture_output=True, check=False).returncode != 0:
        pytest.skip("this system does not let root mount a file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def _fill(disk: Path, leave: int) -> Path:
    """Take all room of a disk but so many bytes; returns the file that takes it."""
    filler = disk / "filler"
    filler.write_bytes(bytes(max(shutil.disk_usage(disk).free - leave, 0)))
    return filler


def test_a_disk_that_becomes_full(small_runs: SmallRuns, tmp_path: Path) -> None:
    """Checkpoints that are kept every epoch fill a real disk; with new room the run ends as it would have."""
    twin = tmp_path / "twin" / "exp"
    exit_code, output = small_runs.launcher.run(small_runs.arguments(twin, "--save-period", 1, epochs=12))
    assert exit_code == 0, output
    sizes = {path.name: path.stat().st_size for path in twin.glob("*/*.safetensors")}
    weights = sizes["last.safetensors"]
    with _small_disk(tmp_path / "disk", 12) as disk:
        folder = disk / "runs" / "exp"
        filler = _fill(disk, leave=3 * max(sizes.values()) + 7 * weights)
        exit_code, output = small_runs.launcher.run(
            small_runs.arguments(folder, "--save-period", 1, epochs=12)
        )
        assert exit_code == 3, output
        assert "the disk may become full: the run can need" in output
        _assert_explained(output, folder, r"disk full: ([\d.]+ MB needed, )?0\.\d MB free")
        assert any(folder.glob("state/*.safetensors"))
        intact_files(folder)
        filler.unlink()
        small_runs.finish(folder, twin)


def test_a_run_that_has_no_room_is_not_begun(small_runs: SmallRuns, tmp_path: Path) -> None:
    with _small_disk(tmp_path / "disk", 12) as disk:
        _fill(disk, leave=150_000)
        folder = disk / "runs" / "exp"
        exit_code, output = small_runs.launcher.run(small_runs.arguments(folder))
        assert exit_code == 3, output
        _assert_explained(
            output, folder, r"too little room for the checkpoints of this run: 0\.\d MB needed, 0\."
        )
        assert not any(folder.glob("*/*.safetensors"))


def test_a_run_folder_on_a_read_only_disk(small_runs: SmallRuns, tmp_path: Path) -> None:
    with _small_disk(tmp_path / "disk", 12) as disk:
        folder = disk / "runs" / "exp"
        shutil.copytree(small_runs.reference, folder)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for arguments in (["train", "--resume", folder], small_runs.arguments(folder, "--exist-ok")):
            exit_code, output = small_runs.launcher.run(arguments)
            assert exit_code == 3, output
            _assert_explained(output, folder / "run.lock", "Read-only file system")
