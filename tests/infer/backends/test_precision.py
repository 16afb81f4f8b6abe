import pytest

from tests.checkpoint.contracts import small_contract
from vedette.errors import UsageError
from vedette.infer.backends.precision import only_cpu, same_as_file


def test_the_files_own_and_the_default_pass():
    for precision in ("auto", "float32", "bf16"):
        same_as_file(precision, small_contract(precision="bf16"))


def test_another_one_is_refused():
    with pytest.raises(
        UsageError, match="was exported as bf16; leave it out, or export with --precision fp16"
    ):
        same_as_file("fp16", small_contract(precision="bf16"))


def test_another_device_is_refused():
    for device in ("", "cpu", " CPU "):
        only_cpu("ncnn", device)
    with pytest.raises(UsageError, match="device '0': ncnn runs on the CPU here; leave it out"):
        only_cpu("ncnn", "0")
