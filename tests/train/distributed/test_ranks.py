from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from vedette.errors import UsageError
from vedette.train.distributed.ranks import ALONE, Ranks

TORCHRUN = {
    "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "node0",
    "MASTER_PORT": "29500", "TORCHELASTIC_RESTART_COUNT": "2", "TORCHELASTIC_USE_AGENT_STORE": "True",
    "TORCHELASTIC_RUN_ID": "job",
}  # fmt: skip


def test_the_environment_of_torchrun_is_read() -> None:
    ranks = Ranks.from_environment(TORCHRUN)
    assert ranks == Ranks(3, 4, 1, 2, "node0", 29500, 2, True, "job")
    assert not ranks.first
    assert ranks.part == (3, 4)


def test_a_launcher_that_sets_the_least() -> None:
    least = {
        name: TORCHRUN[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    }
    assert Ranks.from_environment(least) == Ranks(3, 4, 1, 4, "node0", 29500)


@pytest.mark.parametrize("environment", [{}, {**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1"}])
def test_one_process_is_alone(environment: dict[str, str]) -> None:
    assert Ranks.from_environment(environment) == ALONE
    assert ALONE.first


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"RANK": "4"}, "RANK 4 of WORLD_SIZE 4"),
        ({"RANK": "-1"}, "RANK is '-1', not a number; start the processes with torchrun"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE is not set"),
        ({"LOCAL_RANK": "x"}, "LOCAL_RANK is 'x'"),
        ({"MASTER_PORT": ""}, "MASTER_PORT is not set"),
        ({"MASTER_ADDR": ""}, "MASTER_ADDR is not set"),
    ],
)
def test_a_wrong_environment_is_refused(change: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match="environment: ") as caught:
        Ranks.from_environment({**TORCHRUN, **change})
    assert words in str(caught.value)


def test_alone_everything_is_as_it_was() -> None:
    tensor = torch.arange(3.0)
    ALONE.add_up([tensor])
    ALONE.copy_from_first([tensor])
    assert ALONE.total(tensor) is tensor
    assert ALONE.exchange([1, 2.5]) == [[1.0, 2.5]]
    assert ALONE.gather("value") == ["value"]
    assert ALONE.from_first(lambda: 7) == 7
    assert ALONE.remembered_run() == ""
    ALONE.remember_run("folder")
    ALONE.require_same("the data", "hash", fix="")
    with ALONE.one_per_machine_first("cache"):
        pass
    assert tensor.tolist() == [0.0, 1.0, 2.0]


def test_an_error_alone_is_not_changed() -> None:
    with pytest.raises(ZeroDivisionError):
        ALONE.from_first(lambda: 1 // 0)


PAIR = Ranks(1, 2, 1, 2, "localhost", 29500)


def test_devices_of_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PAIR.device("cpu") == torch.device("cpu")
    assert ALONE.device("cpu") == torch.device("cpu")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert PAIR.device("") == torch.device("cpu")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    assert PAIR.device("") == torch.device("cuda:1")
    assert PAIR.device("2,3") == torch.device("cuda:3")
    assert replace(PAIR, local_rank=0, local_world_size=1).device("3") == torch.device("cuda:3")
    with pytest.raises(UsageError, match="all 2 processes would use one GPU"):
        PAIR.device("0")
    with pytest.raises(UsageError, match="2 devices for 3 processes"):
        replace(PAIR, local_rank=2, world_size=3, local_world_size=3).device("0,1")
    with pytest.raises(UsageError, match="there is no such device"):
        replace(PAIR, local_rank=5, world_size=6).device("")


def test_apple_gpus_cannot_be_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    with pytest.raises(UsageError, match="only share CUDA devices and CPUs"):
        PAIR.device("mps")
