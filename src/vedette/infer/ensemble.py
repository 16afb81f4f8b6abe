"""Several detectors as one: all look at the same frames, and their answers are put together.

``nms``, the published rule (inference.md, section 6): the predictions of all members together go through one
suppression. ``wbf``: each member's own detections are averaged by weighted box fusion (:mod:`vedette.core.box_fusion`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from vedette.core.box_fusion import checked_weights, fuse_boxes
from vedette.core.letterbox import FrameShape, LetterboxPolicy
from vedette.core.nms import NmsSettings, Suppressed, greedy, pairwise_iou, suppress
from vedette.core.types import FloatArray, IntArray, SizeHW
from vedette.errors import ModelError, UsageError
from vedette.infer.backends import Backend, CombiningBackend, Frames, Outputs

EnsembleRule = Literal["nms", "wbf"]

FUSED_ABOVE = 0.001
"""Scores of the members' detections that are fused, or the threshold asked for if that is lower. It is one and the same
for all higher thresholds, so that a threshold never changes a box or its score."""

MEMBER_IOU = 0.45
"""Members suppress their own boxes at this IoU, or at the one asked for if that is lower. It is well below that of
fusion, so that a member has one voice for an object: with 0.65 at both, AP of three detectors of blood cells fell from
0.53 to 0.45 (docs/ensembles.md)."""

_LISTED_NAMES = 5
_WHERE = "--weights"


@dataclass(frozen=True, slots=True)
class Member:
    """A detector of an ensemble.

    Attributes:
        name: what to call it in messages, such as its file.
        backend: runs its network.
        class_names: by class id.
        letterbox: the preprocessing it was trained with.
        nms: the suppression that is built into its network, or None.
    """

    name: str
    backend: Backend
    class_names: tuple[str, ...]
    letterbox: LetterboxPolicy
    nms: NmsSettings | None = None


def class_order(first: Member, other: Member) -> IntArray:
    """The class id of ``other`` for each class of ``first``, int64 [C], by name.

    Raises:
        UsageError: they do not know the same classes.
    """
    ours, theirs = first.class_names, other.class_names
    if ours == theirs:
        return np.arange(len(ours), dtype=np.int64)
    missing = [name for name in ours if name not in theirs]
    strange = [name for name in theirs if name not in ours]
    if missing or strange:
        differences = [
            f"{verb} {', '.join(repr(name) for name in names[:_LISTED_NAMES])}{' ...' * (len(names) > _LISTED_NAMES)}"
            for verb, names in (("lacks", missing), ("has besides", strange))
            if names
        ]
        raise UsageError(
            f"does not know the classes of {first.name}: it {' and '.join(differences)}",
            where=other.name,
            fix="combine detectors of the same classes",
        )
    if len(set(ours)) < len(ours) or len(ours) != len(theirs):
        raise UsageError(
            f"has classes of one name, in another order than {first.name}, so they cannot be told apart",
            where=other.name,
            fix="combine detectors of the same classes in the same order",
        )
    return np.array([theirs.index(name) for name in ours], dtype=np.int64)


def shared_letterbox(
    members: Sequence[Member], size_hw: SizeHW | None = None, shape: FrameShape | None = None
) -> LetterboxPolicy:
    """The frames that all members look at: the size and shape given or common to all, and the largest stride.

    Raises:
        UsageError: members were made for frames that differ in something that was not given.
    """
    sizes = {member.name: member.letterbox.size_hw for member in members}
    shapes = {member.name: member.letterbox.shape for member in members}
    first = members[0].letterbox
    if size_hw is None:
        _require_one({name: "{}x{}".format(*size) for name, size in sizes.items()}, "of", "--img-size")
    if shape is None:
        _require_one(shapes, "of the shape", "--letterbox")
    for field, words in (
        ("pad_value", "padded with"),
        ("scale_up", "with scale_up"),
        ("picture_format", "made of"),
    ):
        _require_one({member.name: getattr(member.letterbox, field) for member in members}, words, None)
    stride = max(max(member.letterbox.stride, *member.backend.strides) for member in members)
    return replace(first, size_hw=size_hw or first.size_hw, shape=shape or first.shape, stride=stride)


def _require_one(values: dict[str, Any], words: str, flag: str | None) -> None:
    """Raises UsageError if the members' values differ, and says which flag settles it."""
    (first, value), *others = values.items()
    for name, other in others:
        if other != value:
            raise UsageError(
                f"{first} looks at frames {words} {value}, {name} at frames {words} {other}",
                where=_WHERE,
                fix=f"say with {flag} what both shall look at"
                if flag
                else "combine detectors of one preprocessing",
            )


class EnsembleBackend:
    """Members that look at the same frames, with the class ids of the first one.

    Args:
        members: two or more.
        rule: how their answers become one.
        weights: with "wbf", how much each member counts; None: all the same.

    Raises:
        UsageError: the members do not know the same classes, cannot take the same frames, or the rule cannot be used
            with one of them.
        ModelError: the weights make no sense.
    """

    def __init__(
        self, members: Sequence[Member], rule: EnsembleRule = "nms", weights: Sequence[float] | None = None
    ) -> None:
        self._members = tuple(members)
        self._rule = rule
        self._orders = tuple(class_order(members[0], member) for member in members)
        self._weights = None if weights is None else tuple(checked_weights(weights, len(members)))
        each = [one.backend.combines for one in members if isinstance(one.backend, CombiningBackend)]
        self.combines = f"{len(members)} detectors by {rule}" + "".join(
            f", {views} each" for views in each[:1]
        )
        self.frame_hw: SizeHW | None = _only_value(members, "frame_hw", "frames of size {}")
        self.batch_size: int | None = _only_value(members, "batch_size", "batches of {}")
        for member in members:
            if rule == "nms" and member.nms is not None:
                raise UsageError(
                    "ends in a suppression of its own, so its predictions cannot be joined with others",
                    where=member.name,
                    fix="use --ensemble wbf, or export it without suppression in the graph",
                )
        if rule == "nms" and weights is not None:
            raise UsageError(
                "suppression does not weigh members", where="--ensemble-weights", fix="use --ensemble wbf"
            )

    @property
    def strides(self) -> tuple[int, ...]:
        """Those of the member with the largest one, which frames have to fit."""
        return max((member.backend.strides for member in self._members), key=max)

    @property
    def classes(self) -> int:
        """Number of classes C."""
        return self._members[0].backend.classes

    @property
    def device(self) -> str:
        """Where the members run, in words."""
        return "+".join(dict.fromkeys(str(member.backend.device) for member in self._members))

    @property
    def precision(self) -> str:
        """Number formats of the members."""
        return "+".join(dict.fromkeys(member.backend.precision for member in self._members))

    def run(self, frames: Frames) -> Outputs:
        """Run all members on frames, one after the other. Raises ModelError."""
        answers = tuple(
            Answer(member.backend.run(frames), order, member.nms)
            for member, order in zip(self._members, self._orders, strict=True)
        )
        return JoinedOutputs(answers) if self._rule == "nms" else FusedOutputs(answers, self._weights)

    def warm_up(self, frame_hw: SizeHW, batch_size: int = 1) -> None:
        """Run every member once."""
        for member in self._members:
            member.backend.warm_up(frame_hw, batch_size)


def _only_value(members: Sequence[Member], name: str, words: str) -> Any:
    """The one value that backends insist on; None: none does. Raises UsageError."""
    values = {
        member.name: getattr(member.backend, name)
        for member in members
        if getattr(member.backend, name) is not None
    }
    if len(set(values.values())) > 1:
        told = "; ".join(f"{member} takes {words.format(value)} only" for member, value in values.items())
        raise UsageError(told, where=_WHERE, fix="export them alike, or with dynamic sizes")
    return next(iter(values.values()), None)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one member said of a batch.

    Attributes:
        outputs: as its backend gave them.
        order: int64 [C], its class id for each class of the ensemble.
        built_in: the suppression that its network ends in, or None.
    """

    outputs: Outputs
    order: IntArray
    built_in: NmsSettings | None

    def decoded(self) -> FloatArray:
        """All its predictions, float32 [B, N, 5+C], with the ensemble's classes. Raises ModelError."""
        predictions = self.outputs.decoded()
        columns = np.concatenate((np.arange(5), 5 + self.order))
        return predictions if (np.diff(columns) == 1).all() else predictions[..., columns]

    def suppress(self, settings: NmsSettings) -> list[Suppressed]:
        """Its own detections, with the ensemble's classes; what is built in stays as it is. Raises ModelError."""
        if self.built_in is None:
            wanted = settings.class_ids
            theirs = None if wanted is None else tuple(int(self.order[number]) for number in wanted)
            results = self.outputs.suppress(replace(settings, class_ids=theirs, merge=False))
        else:
            results = self.outputs.suppress(self.built_in)
        ours = np.argsort(self.order)
        renamed = []
        for result in results:
            rows = result.detections.copy()
            rows[:, 5] = ours[rows[:, 5].astype(np.int64)]
            renamed.append(replace(result, detections=rows))
        return renamed


@dataclass(frozen=True, slots=True)
class JoinedOutputs:
    """The predictions of all members together."""

    answers: tuple[Answer, ...]

    def suppress(self, settings: NmsSettings) -> list[Suppressed]:
        """What to keep of each picture, in frame pixels. Raises ModelError."""
        return [suppress(picture, settings) for picture in self.decoded()]

    def decoded(self) -> FloatArray:
        """All predictions, float32 [B, sum of N, 5+C], one member behind the other. Raises ModelError."""
        return np.concatenate([answer.decoded() for answer in self.answers], axis=1)


@dataclass(frozen=True, slots=True)
class FusedOutputs:
    """The detections of all members, fused. ``weights``: how much each counts; None: all the same."""

    answers: tuple[Answer, ...]
    weights: tuple[float, ...] | None = None

    def suppress(self, settings: NmsSettings) -> list[Suppressed]:
        """What to keep of each picture, in frame pixels; fused boxes come from no row (-1). Raises ModelError."""
        own = replace(
            settings,
            conf_threshold=min(settings.conf_threshold, FUSED_ABOVE),
            iou_threshold=min(settings.iou_threshold, MEMBER_IOU),
        )
        by_member = [answer.suppress(own) for answer in self.answers]
        return [self._fused(results, settings) for results in zip(*by_member, strict=True)]

    def decoded(self) -> FloatArray:
        """Not told. Raises ModelError."""
        raise ModelError("fused boxes are detections, not predictions", fix="use --ensemble nms")

    def _fused(self, results: Sequence[Suppressed], settings: NmsSettings) -> Suppressed:
        rows = fuse_boxes([result.detections for result in results], self.weights)
        rows = rows[rows[:, 4] > np.float32(settings.conf_threshold)]
        if settings.class_ids is not None:
            rows = rows[np.isin(rows[:, 5].astype(np.int64), settings.class_ids)]
        if settings.agnostic:
            boxes, threshold = rows[:, :4], np.float32(settings.iou_threshold)
            rows = rows[
                greedy(
                    len(rows),
                    lambda first, second: pairwise_iou(boxes[first], boxes[second]) > threshold,
                    settings.max_detections,
                )
            ]
        rows = rows[: settings.max_detections]
        return Suppressed(
            rows,
            np.full(len(rows), -1, dtype=np.int64),
            all(result.complete for result in results),
            sum(result.non_finite_rows for result in results),
        )
