"""Which class of the model is which class of the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from vedette.core.types import IntArray
from vedette.errors import ModelError

ClassMapKind = Literal["same", "by name", "by number", "single"]


def map_classes(
    model_names: Sequence[str], data_names: Sequence[str], *, single: bool = False
) -> tuple[IntArray, ClassMapKind]:
    """Class ids of the data for those of the model, int64 [C of the model]; -1: the data has no such class.

    Equal names mean equal classes, also in another order or where the model knows more of them; names that
    do not fit are ignored if there are equally many. With ``single`` every class becomes class 0.

    Raises:
        ModelError: neither the names nor the number of classes fit.
    """
    if single:
        return np.zeros(len(model_names), np.int64), "single"
    if tuple(model_names) == tuple(data_names):
        return np.arange(len(model_names)), "same"
    places = {name: number for number, name in enumerate(data_names)}
    distinct = len(places) == len(data_names) and len(set(model_names)) == len(model_names)
    if distinct and places.keys() <= set(model_names):
        return np.array([places.get(name, -1) for name in model_names], np.int64), "by name"
    if len(model_names) == len(data_names):
        return np.arange(len(model_names)), "by number"
    missing = [name for name in data_names if name not in model_names]
    raise ModelError(
        f"the model has {len(model_names)} classes, the data {len(data_names)}; "
        f"the model does not know {', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}",
        fix="use weights that were trained on these classes",
    )
