"""Layers that stay as they are: which ones a person means, and what that does to the detector.

A frozen parameter gets no gradient, so no optimizer touches it, its weight decay included. A normalization layer
whose parameters are frozen keeps its statistics too: see :meth:`vedette.model.detector.Detector.train`.
"""

from __future__ import annotations

from collections.abc import Sequence

from vedette.errors import UsageError, nearest
from vedette.model.detector import Detector

PARTS = ("backbone", "neck", "head")
_WHERE = "--freeze"


def freeze(detector: Detector, words: Sequence[str]) -> tuple[str, ...]:
    """Freeze what the words mean, see :func:`frozen_names`.

    Returns:
        Names of the frozen parameters, in their order; every other parameter learns.

    Raises:
        UsageError: a word means nothing in this detector, or nothing would be left to learn.
    """
    prefixes = frozen_names(detector, words)
    frozen = tuple(
        name
        for name, _ in detector.named_parameters()
        if any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)
    )
    parameters = dict(detector.named_parameters())
    if len(frozen) == len(parameters):
        raise UsageError("leaves nothing to learn", where=f"{_WHERE} {' '.join(words)}", fix="freeze less")
    for name in frozen:
        parameters[name].requires_grad_(False)
    return frozen


def frozen_names(detector: Detector, words: Sequence[str]) -> tuple[str, ...]:
    """Names of modules and parameters that the words of ``--freeze`` mean.

    ====================  =====================================================================================
    ``10``, alone         the first ten layers (published: v7.0)
    ``0 1 2``             these layers
    ``backbone``          this part: ``backbone``, ``neck``, or ``head`` (the output convolutions)
    ``backbone.p3``       the layer of this name, see ``Detector.feature_names``
    ``model.3``           everything whose name begins so: a layer, a module in it or one tensor
    ====================  =====================================================================================

    Raises:
        UsageError: a word means none of it; with the nearest one that does.
    """
    layers = len(detector.model)
    if len(words) == 1 and _is_number(words[0]):
        return tuple(f"model.{number}" for number in range(_layer_number(words[0], layers + 1)))
    names: list[str] = []
    for word in words:
        if _is_number(word):
            names.append(f"model.{_layer_number(word, layers)}")
        else:
            names += _named(detector, word.strip().rstrip("."))
    return tuple(dict.fromkeys(names))


def _is_number(word: str) -> bool:
    return word.strip().lstrip("+-").isdecimal()


def _layer_number(word: str, end: int) -> int:
    number = int(word)
    if not 0 <= number < end:
        raise UsageError(
            "there is no such layer", where=f"{_WHERE} {word}", fix=f"choose from 0 to {end - 1}"
        )
    return number


def _named(detector: Detector, word: str) -> list[str]:
    outputs = [
        name
        for name, module in detector.named_modules()
        if any(module is convolution for convolution in detector.output_convolutions)
    ]
    if word == "head":
        return outputs
    rows = [f"model.{number}" for number in range(len(detector.model) - 1)]
    border = detector.architecture.backbone_rows
    if word in ("backbone", "neck"):
        chosen = rows[:border] if word == "backbone" else rows[border:]
        return [name for name in chosen if name not in outputs]
    if word in detector.feature_names:
        return [f"model.{detector.feature_names[word]}"]
    known = {name for name, _ in detector.named_modules()} | {name for name, _ in detector.named_parameters()}
    if word in known and word:
        return [word]
    raise UsageError(
        "no part, layer or tensor of this name",
        where=f"{_WHERE} {word}",
        fix=nearest(word, _offered(word, known, detector)),
    )


def _offered(word: str, known: set[str], detector: Detector) -> list[str]:
    """What a misspelt word is compared with: tensors only if it is as detailed as their names."""
    dots = word.count(".")
    return [*PARTS, *detector.feature_names, *(name for name in known if 0 < name.count(".") <= max(dots, 1))]
