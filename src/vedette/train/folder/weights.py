"""The deployable checkpoints of a run: ``last``, ``best`` and, if asked for, one every few epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette.checkpoint.deployable import save_detector
from vedette.evaluate.result import Evaluation
from vedette.track.events import WeightsSaved
from vedette.train.events import Emitter

if TYPE_CHECKING:
    from vedette.train.setup import Setup


def save_weights(
    setup: Setup, evaluation: Evaluation | None, emitter: Emitter, *, best: bool, final: bool
) -> None:
    """Write the averaged weights of the epoch that just ended, deployable alone, and tell the trackers.

    Args:
        setup: the run; its state holds the weights.
        evaluation: of these weights, if they were measured.
        emitter: gets a :class:`WeightsSaved`.
        best: they are the best so far.
        final: the run ends with them.
    """
    state, files = setup.state, setup.files
    epochs_done = len(state.progress.history)
    period = setup.config.save_period
    keep = period > 0 and epochs_done % period == 0
    best = best or not files.best.exists()
    metadata = {
        "epoch": epochs_done - 1,
        "metrics": dict(evaluation.numbers) if evaluation is not None else {},
        "trained": setup.facts,
    }
    names = {
        "last": True, "best": best, f"epoch-{epochs_done}": keep, "final": final
    }  # fmt: skip
    paths = [files.last]
    paths += [files.best] if best else []
    paths += [files.epoch_weights(epochs_done)] if keep else []
    detector = setup.averaged_detector(state)
    for path in paths:
        save_detector(
            path,
            detector,
            class_names=setup.class_names,
            letterbox=setup.letterbox,
            metadata=metadata,
        )
    emitter.emit(
        WeightsSaved(
            paths[-1], epochs_done - 1, tuple(name for name, holds in names.items() if holds), metadata
        )
    )
