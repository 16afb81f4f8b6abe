"""Device, dtype and thread choice; GPUs are simulated by replacing torch's questions."""

import os

import pytest
import torch

from vedette.core import device as subject
from vedette.core.device import available_devices, select_device, select_dtype, thread_count
from vedette.errors import UsageError


@pytest.fixture
def machine(monkeypatch):
    def build(cuda=0, mps=False, capability=(9, 0), bf16=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device=None: capability)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(subject, "cpu_has_bf16", lambda: bf16)

    return build


@pytest.mark.parametrize(
    ("cuda", "mps", "text", "expected"),
    [
        (0, False, "", "cpu"),
        (0, True, "", "mps"),
        (2, True, "", "cuda:0"),
        (2, False, "cpu", "cpu"),
        (2, False, " CPU ", "cpu"),
        (2, False, "0", "cuda:0"),
        (2, False, "1", "cuda:1"),
        (2, False, "cuda", "cuda:0"),
        (2, False, "cuda:1", "cuda:1"),
        (0, True, "mps", "mps"),
    ],
)
def test_select(machine, cuda, mps, text, expected):
    machine(cuda, mps)
    assert select_device(text) == torch.device(expected)


@pytest.mark.parametrize("text", ["2", "cuda:2", "mps", "gpu", "cuda:x", "cuda1x", "-1", "99999", "٣"])
def test_unknown_device_lists_what_exists(machine, text):
    machine(cuda=2)
    with pytest.raises(UsageError, match=r"available: cuda:0, cuda:1, cpu"):
        select_device(text)


def test_several_devices_name_torchrun(machine):
    machine(cuda=2)
    with pytest.raises(UsageError, match="torchrun"):
        select_device("0,1")


def test_available_devices_of_this_machine_can_be_used():
    names = available_devices()
    assert names[-1] == "cpu"
    for name in names:
        assert torch.zeros(1, device=select_device(name)).device == torch.device(name)


@pytest.mark.parametrize(
    ("precision", "device", "capability", "bf16", "expected"),
    [
        ("auto", "cuda:0", (9, 0), False, torch.bfloat16),
        ("auto", "cuda:0", (7, 5), False, torch.float16),
        ("auto", "cpu", None, True, torch.bfloat16),
        ("auto", "cpu", None, False, torch.float32),
        ("auto", "mps", None, True, torch.float32),
        ("float32", "cuda:0", (9, 0), True, torch.float32),
        ("bf16", "cpu", None, False, torch.bfloat16),
        ("fp16", "cuda:0", (9, 0), False, torch.float16),
        ("fp16", "mps", None, False, torch.float16),
    ],
)
def test_dtype(machine, precision, device, capability, bf16, expected):
    machine(cuda=1, mps=True, capability=capability, bf16=bf16)
    assert select_dtype(precision, torch.device(device)) == expected


def test_dtype_errors():
    with pytest.raises(UsageError, match="fp16 needs a GPU; use bf16"):
        select_dtype("fp16", torch.device("cpu"))
    with pytest.raises(UsageError, match="precision 'int8'"):
        select_dtype("int8", torch.device("cpu"))


def test_bf16_question_is_answered(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert subject.cpu_has_bf16() is True
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    assert subject.cpu_has_bf16() is False
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    assert subject.cpu_has_bf16() is False


def test_threads():
    assert thread_count(3) == 3
    assert 1 <= thread_count(0) <= (os.cpu_count() or 1)
    with pytest.raises(UsageError, match="-2 threads"):
        thread_count(-2)


def test_threads_follow_the_affinity(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 2, 5}, raising=False)
    assert thread_count() == 3
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert thread_count() == 1
