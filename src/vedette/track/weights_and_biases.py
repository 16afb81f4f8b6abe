"""Weights & Biases: metrics, pictures with boxes, checkpoints and the data set as versioned artifacts.

Written for a process of its own (:mod:`vedette.track.child`). Everything of an epoch goes into one history row,
whose step is the epoch; the row is sent when the epoch is done.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vedette.core.picture_format import PictureFormat
from vedette.core.types import RgbImage
from vedette.errors import MissingExtraError, VedetteError
from vedette.track.events import (
    EpochDone,
    Event,
    FoundPicture,
    PicturesFound,
    PicturesSaved,
    RunFinished,
    RunStarted,
    WeightsSaved,
)
from vedette.track.published import GROUP_TITLES, best_scalars, scalars

MAX_PICTURE_SIDE = 640
"""Longer sides of sent pictures are scaled to this."""


@dataclass(frozen=True, slots=True)
class WandbSettings:
    """Which run to write, and what of it.

    Attributes:
        folder: where W&B puts its folder ``wandb``.
        project: its project.
        name: shown name of the run.
        run_id: identity of the run; the same again continues it.
        entity: owner; empty: the user's default.
        offline: write to ``folder`` only; False: what the user has set up (login, WANDB_MODE).
        artifacts: send checkpoints.
        dataset: register the data set.
    """

    folder: Path
    project: str
    name: str
    run_id: str
    entity: str = ""
    offline: bool = False
    artifacts: bool = False
    dataset: bool = False


class WandbTracker:
    """Writes one W&B run.

    Attributes:
        notes: texts for the people who watch the run; the reader takes them out.
    """

    def __init__(self, settings: WandbSettings) -> None:
        try:
            import wandb
        except ImportError:
            raise MissingExtraError("wandb", "wandb", "--track wandb") from None
        self.notes: list[str] = []
        self._wandb = wandb
        self._settings = settings
        self._run: Any = None
        self._epoch = 0
        self._epochs = 0
        self._finished = False

    def handle(self, event: Event) -> None:
        """Log what is shown of ``event``. Whatever W&B raises passes through."""
        if isinstance(event, RunStarted):
            self._start(event)
        elif self._run is None:
            return
        elif isinstance(event, EpochDone):
            self._end_epoch(event)
        elif isinstance(event, PicturesSaved):
            self._log_files(event)
        elif isinstance(event, PicturesFound):
            self._log_found(event)
        elif isinstance(event, WeightsSaved):
            self._log_weights(event)
        elif isinstance(event, RunFinished):
            self._finished = True

    def close(self) -> None:
        """Send what is left; a run that did not reach its end is marked as failed."""
        if self._run is not None:
            self._run.finish(exit_code=0 if self._finished else 1)
            self._run = None

    def _start(self, event: RunStarted) -> None:
        settings = self._settings
        self._epoch, self._epochs = len(event.history), event.epochs
        settings.folder.mkdir(parents=True, exist_ok=True)
        self._run = self._wandb.init(
            project=settings.project,
            name=settings.name,
            id=settings.run_id,
            entity=settings.entity or None,
            resume="allow",
            mode="offline" if settings.offline else None,
            dir=str(settings.folder),
            config={**event.config, "hyp": dict(event.hyperparameters), "facts": dict(event.facts)},
            allow_val_change=True,  # a resumed run may have another device
            # Nothing but what this class logs: not the user's code, repository, packages or terminal.
            settings=self._wandb.Settings(
                console="off", disable_code=True, disable_git=True, x_save_requirements=False
            ),
        )
        if getattr(self._run, "disabled", False):
            raise VedetteError("is switched off (WANDB_MODE=disabled)", where="Weights & Biases")
        if self._run.settings._offline:
            folder = Path(self._run.settings.sync_dir)
            self.notes.append(f"Weights & Biases writes offline; to send it: wandb sync {folder.as_posix()}")
        else:
            self.notes.append(f"Weights & Biases: {self._run.url}")
        self._run.define_metric("epoch")
        self._run.define_metric("*", step_metric="epoch")
        if settings.dataset and not event.step:
            self._log_dataset(event.data)

    def _log(self, values: Mapping[str, Any]) -> None:
        """Add to the row of the epoch in hand."""
        self._run.log(dict(values), step=self._epoch, commit=False)

    def _end_epoch(self, event: EpochDone) -> None:
        self._epoch = int(event.row["epoch"] or 0)
        self._run.log({"epoch": self._epoch, **scalars(event.row)}, step=self._epoch, commit=True)
        if event.best:
            self._run.summary.update(best_scalars(event.row))
        self._epoch += 1

    def _log_files(self, event: PicturesSaved) -> None:
        shown = [
            self._wandb.Image(str(path), caption=path.name)
            for path in event.paths
            if path.suffix.lower() in (".jpg", ".png") and path.is_file()
        ]
        if shown:
            self._log({GROUP_TITLES.get(event.group, event.group): shown})

    def _log_found(self, event: PicturesFound) -> None:
        labels = dict(enumerate(event.class_names))
        self._epoch = max(self._epoch, event.epoch)
        scales = [min(1.0, MAX_PICTURE_SIDE / max(*picture.size_hw, 1)) for picture in event.pictures]
        pixels = in_one_size(
            [
                _scaled_picture(picture.path, scale, picture.picture_format)
                for picture, scale in zip(event.pictures, scales, strict=True)
            ]
        )
        images = [
            self._found_image(shown, picture, scale, labels)
            for shown, picture, scale in zip(pixels, event.pictures, scales, strict=True)
        ]
        self._log({"Images": images})

    def _found_image(
        self, shown: RgbImage, picture: FoundPicture, scale: float, labels: dict[int, str]
    ) -> Any:
        groups = {"predictions": picture.found_boxes, "ground_truth": picture.true_boxes}
        boxes = {
            group: {"box_data": [box_record(box, scale) for box in members], "class_labels": labels}
            for group, members in groups.items()
            if members
        }
        return self._wandb.Image(shown, boxes=boxes, caption=picture.path.name, file_type="jpg")

    def _log_weights(self, event: WeightsSaved) -> None:
        if not self._settings.artifacts or event.aliases == ("last",):
            return  # the newest of every epoch would fill the store; best, kept and final ones are sent
        metadata = {
            **event.metadata,
            "epochs_trained": event.epoch + 1,
            "total_epochs": self._epochs,
            "project": self._settings.project,
        }
        artifact = self._wandb.Artifact(f"run_{self._settings.run_id}_model", type="model", metadata=metadata)
        # The file is ours for this call only: W&B makes its own copy.
        artifact.add_file(str(event.path), name="model" + event.path.suffix)
        self._run.log_artifact(artifact, aliases=artifact_aliases(event))

    def _log_dataset(self, data: Mapping[str, Any]) -> None:
        """The folders of each split by reference, and a file with their content hashes; no picture is sent."""
        splits: Mapping[str, Any] = data["splits"]
        facts = {"description": data["description"], "class_names": list(data["class_names"])}
        artifact = self._wandb.Artifact(
            artifact_name(data["name"]), type="dataset", metadata={**facts, "splits": dict(splits)}
        )
        for split, content in splits.items():
            for folder in content["folders"]:
                artifact.add_reference(
                    Path(folder).as_uri(), name=f"{split}/{Path(folder).name}", checksum=False
                )
        with artifact.new_file("dataset.json") as file:
            file.write(json.dumps({**facts, "splits": splits}, indent=1, ensure_ascii=False))
        self._run.log_artifact(artifact, aliases=["latest"])


def box_record(box: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """A box as W&B draws it; the score feeds its slider (section 4.3). True boxes have none."""
    left, top, right, bottom = (float(value) * scale for value in box["box_xyxy"])
    record = {
        "position": {"minX": left, "minY": top, "maxX": right, "maxY": bottom},
        "domain": "pixel",
        "class_id": int(box["class_id"]),
        "box_caption": str(box["class_name"]),
    }
    if "score" in box:
        score = float(box["score"])
        record |= {"box_caption": f"{box['class_name']} {score:.3f}", "scores": {"class_score": score}}
    return record


def artifact_aliases(event: WeightsSaved) -> list[str]:
    """W&B's names of a version: ``latest``, ``epoch-N`` (counted from 1), ``best``, ``final``.

    ``last`` is W&B's ``latest``.
    """
    own = [alias for alias in event.aliases if alias != "last"]
    return list(dict.fromkeys(["latest", f"epoch-{event.epoch + 1}", *own]))


def artifact_name(name: str) -> str:
    """A name of letters, digits, dots, hyphens and underscores, which is all that W&B takes."""
    return "".join(sign if sign.isascii() and (sign.isalnum() or sign in "._-") else "_" for sign in name)[
        :100
    ]


def in_one_size(pictures: Sequence[RgbImage]) -> list[RgbImage]:
    """The pictures on grey canvases of the same size, each in the upper left corner: W&B expects one size."""
    height = max((picture.shape[0] for picture in pictures), default=0)
    width = max((picture.shape[1] for picture in pictures), default=0)
    canvases = [np.full((height, width, 3), 114, np.uint8) for _ in pictures]
    for canvas, picture in zip(canvases, pictures, strict=True):
        canvas[: picture.shape[0], : picture.shape[1]] = picture
    return canvases


def _scaled_picture(path: Path, scale: float, picture_format: PictureFormat) -> RgbImage:
    import cv2

    from vedette.core.display import display
    from vedette.data.images import read_image

    picture = display(read_image(path, picture_format=picture_format))
    height, width = (max(1, round(length * scale)) for length in picture.shape[:2])
    if scale == 1.0:
        return picture
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
