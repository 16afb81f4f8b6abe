"""Training on two ranks, in real processes: the same run as on one, and no rank waits for a dead one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.flow.conftest import draw_rectangles
from vedette.checkpoint.state_folder import StateFolder

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
EPOCHS = 8
# Torch 2.6 leaves a temporary folder of its own to the end of the process.
WARNINGS = "error,ignore:Implicitly cleaning up:ResourceWarning" if torch.__version__ < "2.7" else "error"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """13 pictures: with batches of 4, the last part of rank 0 is empty."""
    return draw_rectangles(tmp_path_factory.mktemp("pictures"), train=13, val=5, size=64)


def train(data: Path, project: Path, *more: object) -> list[str]:
    return [
        "vedette", "train", "--data", str(data), "--cfg", "tiny", "--img", "64", "--batch", "4",
        "--project", str(project), "--device", "cpu", "--precision", "float32", "--noval", "--noplots",
        "--threads", "1", *(("--epochs", str(EPOCHS)) if "--epochs" not in more else ()),
        *(("--workers", "0") if "--workers" not in more else ()), *map(str, more),
    ]  # fmt: skip


class Torchrun:
    """Two ranks under torchrun; both write into one text."""

    def __init__(self, arguments: list[str], *, restarts: int = 0) -> None:
        options = ["--standalone", "--nproc-per-node", "2", "--max-restarts", str(restarts)]
        self.process = _start([sys.executable, "-m", "torch.distributed.run", *options, "-m", *arguments])

    def output(self) -> str:
        return self.process.communicate(timeout=300)[0]


def by_hand(
    arguments: Callable[[int], list[str]], cwds: tuple[Path | None, Path | None] = (None, None)
) -> list[subprocess.Popen[str]]:
    """Two ranks without a launcher, started as SLURM would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = []
    for rank in range(2):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port}
        environment = {name: str(value) for name, value in place.items()} | {"MASTER_ADDR": "127.0.0.1"}
        ranks.append(_start([sys.executable, "-m", *arguments(rank)], cwds[rank], **environment))
    return ranks


def _start(command: list[str], cwd: Path | None = None, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": WARNINGS, **environment},
    )


def wait_for_epochs(folder: Path, process: subprocess.Popen[str], count: int = 2) -> None:
    """Until so many epochs are saved."""
    log = folder / "events.jsonl"
    while process.poll() is None:
        if log.exists() and log.read_text("utf-8").count('"EpochDone"') > count:
            return
        time.sleep(0.01)
    raise AssertionError(process.communicate()[0])


def rank_process(parent: subprocess.Popen[str], rank: int) -> int:
    """The process id of a rank that torchrun started."""
    listed = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text("utf-8")
    for process_id in map(int, listed.split()):
        if f"\0RANK={rank}\0" in "\0" + Path(f"/proc/{process_id}/environ").read_text("utf-8"):
            return process_id
    raise AssertionError(listed)


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="finds the ranks of torchrun in /proc"
)


def assert_same_bits(folder: Path, reference: Path) -> None:
    saved, expected = (StateFolder(it / "state").load_latest() for it in (folder, reference))
    assert saved is not None
    assert expected is not None
    assert saved.tensors.keys() == expected.tensors.keys()
    assert not [
        name for name in saved.tensors if not torch.equal(saved.tensors[name], expected.tensors[name])
    ]
    one, other = (json.loads((it / "summary.json").read_text("utf-8")) for it in (folder, reference))
    for name in ("weights_sha256", "ap", "images_seen", "optimizer_steps", "epochs"):
        assert one[name] == other[name]


@pytest.fixture(scope="module")
def uninterrupted(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two ranks that nobody disturbed, each in a working directory of its own."""
    project = tmp_path_factory.mktemp("runs")
    elsewhere = tmp_path_factory.mktemp("another machine")
    project.joinpath("here").mkdir()
    ranks = by_hand(lambda rank: train(pictures, Path("runs")), cwds=(project / "here", elsewhere))
    outputs = [process.communicate(timeout=300)[0] for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], outputs
    assert outputs[1] == "", "only rank 0 talks"
    assert not list(elsewhere.iterdir()), "only rank 0 writes"
    return project / "here" / "runs" / "exp"


def test_two_ranks_make_one_run(uninterrupted: Path) -> None:
    summary = json.loads((uninterrupted / "summary.json").read_text("utf-8"))
    assert summary["images_seen"] == EPOCHS * 13
    assert summary["epochs"] == EPOCHS
    assert (uninterrupted / "report.html").stat().st_size > 0


def test_ranks_agree_on_gradients_statistics_samples_and_figures(pictures: Path, tmp_path: Path) -> None:
    ranks = by_hand(lambda _: ["tests.flow.rank_program", str(pictures), str(tmp_path)])
    outputs = [process.communicate(timeout=300)[0] for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], outputs
    assert outputs == ["rank 0 of 2 agrees\n", "rank 1 of 2 agrees\n"]


@needs_proc
def test_a_killed_rank_is_named_and_a_restart_goes_on(
    pictures: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    """Torchrun starts the ranks again; they take up the run they had begun, and nothing shows in the result."""
    run = Torchrun(train(pictures, tmp_path, "--save-seconds", "0.001"), restarts=1)
    wait_for_epochs(tmp_path / "exp", run.process)
    os.kill(rank_process(run.process, 1), signal.SIGKILL)
    output = run.output()
    assert run.process.returncode == 0, output
    assert "vedette: error: rank 1 (" in output
    assert "has not answered for" in output
    assert [it.name for it in tmp_path.iterdir()] == ["exp"]
    assert_same_bits(tmp_path / "exp", uninterrupted)


@needs_signals
def test_a_stopped_rank_is_named_and_one_rank_can_go_on(pictures: Path, tmp_path: Path) -> None:
    timeout = 6.0
    first, second = by_hand(lambda _: train(pictures, tmp_path, "--rank-timeout", timeout))
    wait_for_epochs(tmp_path / "exp", first)
    second.send_signal(signal.SIGSTOP)
    output, _ = first.communicate(timeout=300)
    second.kill()
    second.communicate()
    assert first.returncode == 5, output
    assert f"rank 1 ({socket.gethostname()}, process {second.pid}) has not answered for" in output
    assert "vedette train --resume" in output
    alone = _start([sys.executable, "-m", "vedette", "train", "--resume", str(tmp_path / "exp")])
    output, _ = alone.communicate(timeout=300)
    assert alone.returncode == 0, output
    summary = json.loads((tmp_path / "exp" / "summary.json").read_text("utf-8"))
    assert summary["images_seen"] == EPOCHS * 13


@needs_proc
def test_a_stop_of_one_rank_stops_all(pictures: Path, tmp_path: Path) -> None:
    run = Torchrun(train(pictures, tmp_path))
    wait_for_epochs(tmp_path / "exp", run.process)
    os.kill(rank_process(run.process, 1), signal.SIGTERM)
    output = run.output()
    assert run.process.returncode != 0
    assert output.count("stopped on request, the state is saved") == 1
    assert "exitcode  : 143" in output
    assert StateFolder(tmp_path / "exp" / "state").load_latest() is not None


@needs_signals
def test_a_signal_to_a_whole_job_leaves_data_workers_alone(pictures: Path, tmp_path: Path) -> None:
    """Torchrun and batch systems signal every process of a job; the step in hand still needs its pictures."""
    arguments = train(pictures, tmp_path, "--nosave", "--epochs", 100, "--workers", 1)
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    wait_for_epochs(tmp_path / "exp", process)
    os.killpg(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 143, output
    assert "stopped on request, the state is saved" in output
    assert StateFolder(tmp_path / "exp" / "state").load_latest() is not None


def test_an_error_of_one_rank_ends_the_other_with_its_words(tmp_path: Path) -> None:
    ranks = by_hand(lambda _: ["tests.flow.rank_program"])
    outputs = [process.communicate(timeout=300)[0] for process in ranks]
    assert [process.returncode for process in ranks] == [5, 1], outputs
    assert f"rank 1 ({socket.gethostname()}, process {ranks[1].pid}) failed: here: broken" in outputs[0]
    assert "Traceback" not in outputs[0]
