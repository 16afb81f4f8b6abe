"""Which maps of layers a file gives besides its raw outputs."""

from __future__ import annotations

from collections.abc import Sequence

from vedette.checkpoint.feature_maps import MAX_MAPS, FeatureMap, FeatureMaps
from vedette.errors import UsageError
from vedette.model.detector import Detector
from vedette.model.plan import plan

BOX_LAYERS = "box"
"""The word for what the output convolutions read: all that ``detect(features="cell")`` needs."""


def feature_maps(detector: Detector, words: Sequence[str]) -> FeatureMaps:
    """The maps that words ask for, by rising layer.

    Args:
        detector: to be exported.
        words: row numbers, names such as ``backbone.p3``, or :data:`BOX_LAYERS`.

    Raises:
        ModelError: there is no such layer.
        UsageError: more layers than a file can say.
    """
    chosen = set[int]()
    for word in words:
        if word == BOX_LAYERS:
            chosen.update(detector.level_inputs)
        else:
            digits = word.isascii() and word.isdecimal() and len(word) < 6
            chosen.add(detector.layer_index(int(word) if digits else word))
    if len(chosen) > MAX_MAPS:
        raise UsageError(f"{len(chosen)} layers are too many", where="--features", fix=f"{MAX_MAPS} at most")
    layers = plan(detector.architecture)
    names = detector.feature_names
    return FeatureMaps(
        detector.level_inputs,
        tuple(
            FeatureMap(
                number,
                tuple(sorted(name for name, index in names.items() if index == number)),
                layers[number].out_channels,
                layers[number].stride,
            )
            for number in sorted(chosen)
        ),
    )
