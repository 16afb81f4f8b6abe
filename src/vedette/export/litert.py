"""LiteRT (formerly TensorFlow Lite): the network for phones, browsers and small boards."""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from vedette.checkpoint.atomic import write_atomic
from vedette.checkpoint.exported.litert import with_contract
from vedette.errors import MissingExtraError
from vedette.export.job import ExportJob, frame_output
from vedette.model.frame_detector import FrameDetector

_MAX_BATCH = 4096


def write(job: ExportJob, path: Path) -> None:
    """Write one file.

    Raises:
        MissingExtraError: litert-torch is not installed.
        WriteError: it could not be written.
    """
    network = FrameDetector(job.detector, frame_output(job.contract), paired=False)
    model = convert_litert(network, job.example_shape, any_batch=job.contract.batch_size is None)
    write_atomic(path, with_contract(model, job.contract.to_json()))


def convert_litert(
    network: FrameDetector, frames_shape: tuple[int, int, int, int], *, any_batch: bool = False
) -> bytes:
    """The network as a LiteRT model for frames [B, H, W, channels] of one size.

    Args:
        network: in float32, on the CPU.
        frames_shape: of the frames.
        any_batch: leave B open.

    Raises:
        MissingExtraError: litert-torch is not installed.
    """
    with _quiet(), torch.no_grad(), tempfile.TemporaryDirectory(prefix="vedette-litert-") as folder:
        try:
            import litert_torch
        except ImportError as error:
            package = (error.name or "litert_torch").partition(".")[0]
            raise MissingExtraError(package, "export-litert", "export to litert") from None
        batch, height, width, channels = frames_shape
        # A size of 1 would be taken for a constant.
        frames = torch.zeros(2 if any_batch else batch, height, width, channels, dtype=torch.uint8)
        open_sides = ({0: torch.export.Dim("batch", min=1, max=_MAX_BATCH)},) if any_batch else None
        converted = litert_torch.convert(network, (frames,), dynamic_shapes=open_sides)
        file = Path(folder, "network.tflite")
        converted.export(str(file))
        return file.read_bytes()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress that the package prints and the warnings of its own parts."""
    nowhere = io.StringIO()
    with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
