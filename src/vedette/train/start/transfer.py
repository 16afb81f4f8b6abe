"""Weights of an earlier training as the start of a new one, also where the classes are others.

The published rule (specification training.md section 4) takes every entry whose name and shape fit; the outputs
of another number of classes start anew. Here the outputs are matched by class name as well: of each output
convolution the rows of box and objectness are taken, and the rows of the classes that both lists hold.

Where pictures have another number of channels, the first convolution is taken too, its weights fitted to them
(:func:`fitted_channels`), and reported apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vedette.checkpoint.deployable import LoadedDetector
from vedette.model.detector import Detector
from vedette.model.head import BOX_VALUES

ANCHOR_ENTRIES = ("anchor",)
"""Part of the names of entries that hold anchors."""

FIRST_ROW = "model.0."
"""Begin of the names of entries of the row that reads the picture."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """What was taken from a checkpoint.

    Attributes:
        whole: entries taken as they are.
        by_class: entries of which the rows of box, objectness and ``classes_taken`` were taken.
        inflated: entries of the first convolution, fitted to another number of channels.
        channels: of the pictures of the checkpoint and of the detector.
        initial: entries of the detector that keep their initial values.
        unused: entries of the checkpoint that have no place in the detector.
        classes_taken: of the new list, those whose outputs were taken.
        classes_new: of the new list, those whose outputs keep their initial values.
        classes_left: classes of the checkpoint whose outputs were not taken.
    """

    whole: tuple[str, ...]
    by_class: tuple[str, ...]
    inflated: tuple[str, ...]
    channels: tuple[int, int]
    initial: tuple[str, ...]
    unused: tuple[str, ...]
    classes_taken: tuple[str, ...]
    classes_new: tuple[str, ...]
    classes_left: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The counts on one line."""
        total = len(self.whole) + len(self.by_class) + len(self.inflated) + len(self.initial)
        text = f"{len(self.whole)} of {total} tensors taken"
        if self.by_class:
            classes = len(self.classes_taken) + len(self.classes_new)
            text += f", {len(self.by_class)} by class name ({len(self.classes_taken)} of {classes} classes)"
        if self.inflated:
            text += f", {len(self.inflated)} fitted from {self.channels[0]} to {self.channels[1]} channels"
        return text

    def report(self, source: str) -> str:
        """Everything, a text file's worth; ``source`` is the checkpoint."""
        lines = [f"{source}: {self.sentence}"]
        for heading, names in (
            ("classes taken", self.classes_taken),
            ("classes that start anew", self.classes_new),
            ("classes left behind", self.classes_left),
            ("tensors taken by class name", self.by_class),
            *([("tensors fitted to another number of channels", self.inflated)] if self.inflated else []),
            ("tensors that start anew", self.initial),
            ("tensors of the checkpoint that were not taken", self.unused),
        ):
            lines += ["", f"{heading}: {len(names)}", *(f"  {name}" for name in names)]
        return "\n".join(lines) + "\n"


def transferable(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor], excluded: Sequence[str] = ()
) -> tuple[str, ...]:
    """Names of the entries that both sides have in the same shape and that hold none of the ``excluded`` parts.

    The published rule and its counts: golden-training 24, T24.9 and T24.11.
    """
    return tuple(
        name
        for name, tensor in own.items()
        if name in given and given[name].shape == tensor.shape and not any(part in name for part in excluded)
    )


@torch.no_grad()
def transfer(
    detector: Detector, class_names: Sequence[str], loaded: LoadedDetector, *, anchors: bool
) -> Transfer:
    """Write what fits of a checkpoint into a detector, in place.

    Args:
        detector: freshly initialised.
        class_names: its classes; upper and lower case and spaces make no difference in comparing them.
        loaded: the checkpoint.
        anchors: take the anchors too.
    """
    own, given = detector.state_dict(), loaded.detector.state_dict()
    outputs = () if tuple(class_names) == loaded.class_names else output_entries(detector)
    fitting = transferable(own, given, () if anchors else ANCHOR_ENTRIES)
    whole = tuple(name for name in fitting if name not in outputs)
    for name in whole:
        own[name].copy_(given[name])
    channels = loaded.detector.architecture.channels, detector.architecture.channels
    inflated = first_convolution(own, given, channels)
    for name in inflated:
        own[name].copy_(fitted_channels(given[name], *channels))
    matches = match_classes(class_names, loaded.class_names)
    by_class = tuple(name for name in outputs if _rows_fit(name, detector, loaded.detector))
    for name in by_class:
        _take_rows(own[name], given[name], detector.head.anchors_per_level, matches)
    if not outputs and set(output_entries(detector)) <= set(whole):
        matches = {number: number for number in range(len(class_names))}
    elif not by_class:
        matches = {}
    taken = {*whole, *by_class, *inflated}
    return Transfer(
        whole=whole,
        by_class=by_class,
        inflated=inflated,
        channels=channels,
        initial=tuple(name for name in own if name not in taken),
        unused=tuple(name for name in given if name not in taken),
        classes_taken=tuple(class_names[number] for number in matches),
        classes_new=tuple(name for number, name in enumerate(class_names) if number not in matches),
        classes_left=tuple(
            name for number, name in enumerate(loaded.class_names) if number not in matches.values()
        ),
    )


def first_convolution(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor], channels: tuple[int, int]
) -> tuple[str, ...]:
    """Names of the weights that differ in the number of channels of the picture alone.

    Args:
        own: entries of the detector.
        given: entries of the checkpoint.
        channels: of the pictures of the checkpoint and of the detector.
    """
    before, now = channels
    return tuple(
        name
        for name, tensor in own.items()
        if name.startswith(FIRST_ROW)
        and tensor.ndim == 4
        and name in given
        and before != now
        and tensor.shape[1] * before == given[name].shape[1] * now
        and (tensor.shape[0], *tensor.shape[2:]) == (given[name].shape[0], *given[name].shape[2:])
    )


def fitted_channels(weight: Tensor, before: int, now: int) -> Tensor:
    """Weights of a first convolution for pictures of another number of channels.

    With more channels the first ones keep their weights and each further one gets the mean of them; with fewer, every
    channel gets that mean. All are multiplied by ``before / now``. So a picture whose channels are all alike gets the
    answer that it had before.

    Args:
        weight: [out, b * before, k, k]; b is 1, or 4 for a Focus.
        before: channels of the pictures that it was trained on.
        now: channels of the pictures to come.

    Returns:
        [out, b * now, k, k].
    """
    blocks = weight.reshape(len(weight), -1, before, *weight.shape[2:])  # [out, b, before, k, k]
    mean = blocks.mean(dim=2, keepdim=True)
    if now > before:
        fitted = torch.cat((blocks, mean.expand(-1, -1, now - before, -1, -1)), 2)
    else:
        fitted = mean.expand(-1, -1, now, -1, -1)
    return (fitted * (before / now)).flatten(1, 2)


def match_classes(wanted: Sequence[str], given: Sequence[str]) -> dict[int, int]:
    """Class id in ``wanted`` -> class id of the same name in ``given``.

    Upper and lower case and spaces make no difference; of several equal names in ``given`` the first counts.
    Where one side has a single class, nothing matches: the class output of a single class is never trained.
    """
    if 1 in (len(wanted), len(given)):
        return {}
    known = {_plain(name): number for number, name in reversed(list(enumerate(given)))}
    return {number: known[_plain(name)] for number, name in enumerate(wanted) if _plain(name) in known}


def output_entries(detector: Detector) -> tuple[str, ...]:
    """Names of the weights and biases of the output convolutions, in the order of the state dict."""
    convolutions = {id(convolution) for convolution in detector.output_convolutions}
    modules = [name for name, module in detector.named_modules() if id(module) in convolutions]
    return tuple(f"{name}.{kind}" for name in modules for kind in ("weight", "bias"))


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()


def _rows_fit(output: str, own: Detector, given: Detector) -> bool:
    """Whether an output entry is one in both, for as many anchors, in a convolution that reads as many channels."""
    weight = f"{output.rpartition('.')[0]}.weight"
    return (
        output in output_entries(given)
        and own.head.anchors_per_level == given.head.anchors_per_level
        and own.get_parameter(weight).shape[1:] == given.get_parameter(weight).shape[1:]
    )


def _take_rows(own: Tensor, given: Tensor, anchors_per_level: int, matches: Mapping[int, int]) -> None:
    """Copy the rows of box, objectness and matching classes of every anchor; tensors are [A * (5 + C), ...]."""
    target = own.view(anchors_per_level, -1, *own.shape[1:])  # [A, 5 + C, ...]
    source = given.reshape(anchors_per_level, -1, *given.shape[1:])
    target[:, :BOX_VALUES] = source[:, :BOX_VALUES]
    for to_class, from_class in matches.items():
        target[:, BOX_VALUES + to_class] = source[:, BOX_VALUES + from_class]
