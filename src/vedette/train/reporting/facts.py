"""What to tell people about a run before it begins: model, start, data, device, recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vedette.core.picture_format import RGB8
from vedette.model.detector import summary

if TYPE_CHECKING:
    from vedette.train.setup import Setup


def run_facts(setup: Setup, start: str) -> dict[str, Any]:
    """One line of text each, for the console, the report and every checkpoint.

    Args:
        setup: the run, its length settled.
        start: what the detector was made from.
    """
    ranks, device = setup.rules.ranks, setup.rules.device
    place = str(device) if ranks.world_size == 1 else f"{ranks.world_size} ranks, the first on {device}"
    schedule, average = setup.rules.schedule, setup.state.average
    return {
        "model": _model(setup),
        "start": start,
        "data": _data(setup),
        "device": f"{place}, {setup.precision}, {torch.get_num_threads()} threads, {setup.workers} workers",
        "recipe": f"{setup.config.optimizer}, {schedule.optimizer_steps():,} steps of {schedule.nominal_batch} "
        f"pictures, warm-up {schedule.warmup_iterations} batches, average decay {average.decay:.4f}",
    }


def _model(setup: Setup) -> str:
    facts = summary(setup.averaged_detector(setup.state), setup.letterbox.size_hw)
    height, width = setup.letterbox.size_hw
    name = facts.name if "@" in facts.name else f"{facts.name} ({facts.release})"
    return f"{name}, {facts.parameters:,} parameters, {facts.gflops:.1f} GFLOPs at {height} x {width}"


def _data(setup: Setup) -> str:
    train_index, names = setup.train_index, setup.class_names
    shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    return (
        f"{Path(setup.config.data).stem}: {len(train_index)} pictures to train on "
        f"({train_index.background_count} background), {len(setup.val_index)} to measure on, "
        f"{len(names)} classes ({shown})"
        + ("" if train_index.picture_format == RGB8 else f", pictures of {train_index.picture_format}")
    )
