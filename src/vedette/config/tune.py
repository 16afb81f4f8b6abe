"""What a search of hyperparameters needs to know, beside the training runs it is made of."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from vedette.config.base import Config


class TuneConfig(Config):
    """The search itself. Its runs are described by :class:`vedette.config.train.TrainConfig`."""

    model_config = ConfigDict(title="Search")

    trials: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        30, description="Finished training runs that the study ends with, over all processes that work on it"
    )
    sampler: Literal["genetic", "tpe", "cmaes", "random"] = Field(
        "tpe", description="How new values are chosen from the results so far"
    )
    pruner: Literal["none", "median", "hyperband"] = Field(
        "median", description="Which runs are ended early because others were better at the same epoch"
    )
    search: tuple[str, ...] = Field(
        (), description="Hyperparameters to search; none named: those the published evolution varies"
    )
    study: str = Field(
        "runs/tune/study", description="Folder of the study; processes that name the same one work together"
    )
    storage: str = Field(
        "",
        description="Where the results are shared: empty for a journal file in the study's folder, "
        "or a database such as sqlite:///FILE or postgresql://HOST/NAME",
    )
    stale_minutes: Annotated[float, Field(gt=0)] = Field(
        30.0,
        description="A run of another machine that gave no sign for so long is taken for lost and repeated",
    )
