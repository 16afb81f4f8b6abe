"""From files and settings to what looks at pictures: the one place where runtimes, views, members and tiles meet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from vedette.config.detect import DetectConfig
from vedette.config.evaluate import EvaluateConfig
from vedette.core.device import Precision
from vedette.core.letterbox import FrameShape
from vedette.core.types import SizeHW
from vedette.errors import UsageError
from vedette.infer.backends import Backend
from vedette.infer.backends.files import OpenedFile, open_file
from vedette.infer.ensemble import EnsembleBackend, EnsembleRule, Member, shared_letterbox
from vedette.infer.predictor import Predictor
from vedette.infer.tiling import AnyPredictor, TiledPredictor
from vedette.infer.tta import AugmentedBackend, clips_tails


@dataclass(frozen=True, slots=True)
class Assembly:
    """What to put together.

    Attributes:
        weights: files; several are an ensemble.
        device: "cpu", "0", "cuda:0" or "mps"; "": the best there is.
        precision: number format of the networks.
        threads: CPU threads of a runtime other than PyTorch; 0: all.
        lanes: how many threads will call at once; they share the CPU threads.
        compile: run checkpoints through torch.compile (:mod:`vedette.infer.backends.compiled`).
        image_size: of the frames, (height, width); None: that of the files, which then have to agree.
        letterbox: how a picture is put into the frame; None: as the files say, which then have to agree.
        augment: look at every picture three times (:mod:`vedette.infer.tta`).
        published_views: with ``augment``: models of the releases v6.0 and v7.0 leave out what they published without.
        ensemble: how the answers of several files become one (:mod:`vedette.infer.ensemble`).
        ensemble_weights: with "wbf", how much each file counts; None: all the same.
        tile: size of tiles; None: no tiles (:mod:`vedette.infer.tiling`).
        overlap: of neighbouring tiles, as a part of their side.
        tile_whole: with tiles: look at the whole picture, too.
        tile_batch: tiles that go through the network together; 0: fitted to the device.
    """

    weights: tuple[str | Path, ...]
    device: str = ""
    precision: Precision = "float32"
    threads: int = 0
    lanes: int = 1
    compile: bool = False
    image_size: SizeHW | None = None
    letterbox: FrameShape | None = None
    augment: bool = False
    published_views: bool = False
    ensemble: EnsembleRule = "nms"
    ensemble_weights: tuple[float, ...] | None = None
    tile: SizeHW | None = None
    overlap: float = 0.2
    tile_whole: bool = True
    tile_batch: int = 0


def assembly_of(config: DetectConfig | EvaluateConfig, precision: Precision) -> Assembly:
    """What the settings of a command ask for; ``precision``: what becomes of theirs (``--half``)."""
    return Assembly(
        config.weights,
        device=config.device,
        precision=precision,
        threads=config.threads,
        compile=config.compile,
        image_size=config.image_size,
        letterbox=config.letterbox if isinstance(config, DetectConfig) else None,
        augment=config.augment,
        published_views=isinstance(config, EvaluateConfig) and config.protocol == "yolov5",
        ensemble=config.ensemble,
        ensemble_weights=config.ensemble_weights,
        tile=config.tile,
        overlap=config.overlap,
        tile_whole=config.tile_whole,
        tile_batch=config.batch_size,
    )


def assemble(wanted: Assembly) -> AnyPredictor:
    """Open the files and put them together. Suppression is that of :class:`NmsSettings`, or what a file has built in.

    Raises:
        CheckpointError: a file is missing, damaged or foreign.
        UsageError: there is no such device or precision; or files, views and rules do not go together.
        ModelError: a size, weight or overlap is out of range.
        MissingExtraError: the runtime of a file is not installed.
    """
    return in_tiles(assemble_whole(wanted), wanted)


def assemble_whole(wanted: Assembly) -> Predictor:
    """As :func:`assemble`, but without tiles."""
    if not wanted.weights:
        raise UsageError("no file is named", where="--weights", fix="give one or several")
    members = [_member(path, wanted) for path in wanted.weights]
    return _one(members[0], wanted) if len(members) == 1 else _several(members, wanted)


def in_tiles(predictor: Predictor, wanted: Assembly) -> AnyPredictor:
    """The predictor itself, or in tiles if they are wanted. Raises ModelError."""
    if wanted.tile is None:
        return predictor
    return TiledPredictor(
        predictor, wanted.tile, wanted.overlap, whole=wanted.tile_whole, batch_size=wanted.tile_batch
    )


def _one(member: Member, wanted: Assembly) -> Predictor:
    for flag, given in (
        ("--ensemble", wanted.ensemble != "nms"),
        ("--ensemble-weights", wanted.ensemble_weights is not None),
    ):
        if given:
            raise UsageError("one file is no ensemble", where=flag, fix="give several --weights")
    policy = replace(
        member.letterbox,
        size_hw=wanted.image_size or member.letterbox.size_hw,
        shape=wanted.letterbox or member.letterbox.shape,
    )
    return Predictor(member.backend, policy, member.class_names, member.nms)


def _several(members: list[Member], wanted: Assembly) -> Predictor:
    backend = EnsembleBackend(members, wanted.ensemble, wanted.ensemble_weights)
    policy = shared_letterbox(members, wanted.image_size, wanted.letterbox)
    return Predictor(backend, policy, members[0].class_names)


def _member(path: str | Path, wanted: Assembly) -> Member:
    opened = open_file(
        Path(path),
        device=wanted.device,
        precision=wanted.precision,
        threads=wanted.threads,
        lanes=wanted.lanes,
        compile=wanted.compile,
    )
    backend = _augmented(opened, path, wanted) if wanted.augment else opened.backend
    return Member(Path(path).name, backend, opened.class_names, opened.letterbox, opened.nms)


def _augmented(opened: OpenedFile, path: str | Path, wanted: Assembly) -> Backend:
    if opened.nms is not None:
        raise UsageError(
            "ends in a suppression of its own, so its views cannot be joined",
            where=path,
            fix="leave --augment out, or export it without suppression in the graph",
        )
    return AugmentedBackend(opened.backend, clip_tails=wanted.published_views and clips_tails(opened.release))
