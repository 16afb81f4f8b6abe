import numpy as np
import pytest
import torch

from tests.hub.small_model import NAMES
from vedette.errors import ModelError
from vedette.hub.backend import HubBackend
from vedette.hub.model import HubModel
from vedette.infer.backends import Backend
from vedette.infer.backends.pytorch import TorchBackend
from vedette.model.detector import build_detector

FRAMES = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def detector():
    return build_detector("tiny", classes=2, seed=3)


def test_answers_as_the_backend_of_vedette(detector):
    backend: Backend = HubBackend(HubModel(detector, NAMES).eval())
    backend.warm_up((64, 96))
    assert (backend.strides, backend.classes, backend.precision) == ((8, 16, 32), 2, "float32")
    assert backend.device == torch.device("cpu")
    torch.testing.assert_close(
        backend.infer(FRAMES), TorchBackend(detector).infer(FRAMES), atol=2e-3, rtol=1e-4
    )


def test_follows_the_models_number_format(detector):
    model = HubModel(build_detector("tiny", classes=2, seed=3), NAMES).eval()
    backend = HubBackend(model)
    before = backend.infer(FRAMES)
    model.to(torch.bfloat16)
    assert backend.precision == "bf16"
    after = backend.infer(FRAMES)
    assert after.dtype == torch.float32
    assert not torch.equal(after, before)
    assert (after[..., :2] - before[..., :2]).abs().max() < 2


def test_frames_of_another_size_are_refused(detector):
    with pytest.raises(ModelError, match="multiples of 32"):
        HubBackend(HubModel(detector, NAMES).eval()).infer(np.zeros((1, 60, 96, 3), np.uint8))
