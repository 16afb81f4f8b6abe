"""Importing vedette changes nothing in the process and starts at once."""

from __future__ import annotations

import subprocess
import sys

PROBE = """
import json, logging, os, random, sys
import numpy
if sys.argv[1:]:  # what the libraries below us do to a process is theirs
    import cv2, safetensors, torch
before = (dict(os.environ), logging.root.handlers[:], logging.root.level, random.getstate(),
          numpy.random.get_state()[1].tolist(), sorted(os.listdir('.')))
import vedette
for name in sys.argv[1:]:
    __import__(name)
after = (dict(os.environ), logging.root.handlers[:], logging.root.level, random.getstate(),
         numpy.random.get_state()[1].tolist(), sorted(os.listdir('.')))
assert before == after
print(json.dumps('torch' in sys.modules))
"""


def _run(*modules: str) -> str:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROBE, *modules],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout.strip()


def test_importing_the_package_does_not_import_torch() -> None:
    assert _run() == "false"


def test_importing_every_stage_changes_nothing() -> None:
    stages = [
        "cli.app",
        "train.run",
        "evaluate.run",
        "infer.run",
        "infer.predictor",
        "data.loader",
        "model.detector",
    ]
    assert _run(*[f"vedette.{stage}" for stage in stages]) == "true"


def test_torch_random_state_is_untouched_by_building_a_detector() -> None:
    code = (
        "import torch; before = torch.get_rng_state(); threads = torch.get_num_threads();"
        "from vedette.model.detector import build_detector; build_detector('tiny', classes=2);"
        "assert torch.equal(before, torch.get_rng_state()) and threads == torch.get_num_threads()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr


def test_public_names_are_these() -> None:
    """Adding one is a decision; taking one away breaks programs."""
    import vedette

    assert vedette.__all__ == [
        "Detections",
        "LetterboxPolicy",
        "NmsSettings",
        "Predictor",
        "VedetteError",
        "load",
        "read_image",
    ]
    for name in vedette.__all__:
        assert callable(getattr(vedette, name))
        assert name in dir(vedette)
    assert not hasattr(vedette, "nothing")
