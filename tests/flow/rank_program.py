"""What two connected ranks must agree on, checked from inside; a program for `tests/flow/test_distributed.py`.

Usage, as each of two ranks: python -m tests.flow.rank_program DATA.yaml FOLDER

Without arguments rank 1 fails while rank 0 is busy with something else.
"""

from __future__ import annotations

import copy
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vedette.config.hyperparameters import Hyperparameters
from vedette.config.train import TrainConfig
from vedette.errors import DataError, RankError, UsageError
from vedette.train.distributed.joining import joined
from vedette.train.distributed.ranks import ALONE, Ranks
from vedette.train.distributed.sharing import share_step
from vedette.train.events import Emitter
from vedette.train.folder.run_files import RunFiles
from vedette.train.measure import measure
from vedette.train.setup import Setup, prepare

BOXES = ([2, 0, 3, 1, 1], [0, 0, 4, 2, 1], [0, 0, 0, 0, 0], [3])
"""Boxes of the pictures of each batch: uneven parts, a rank without boxes, no boxes at all, an empty part."""


def main() -> None:
    torch.set_num_threads(1)
    if len(sys.argv) == 1:
        fail_on_one_rank()
        return
    data, folder = Path(sys.argv[1]), Path(sys.argv[2])
    ranks = Ranks.from_environment()
    with joined(ranks, torch.device("cpu"), 30.0) as ranks:
        config = TrainConfig(
            data=str(data), cfg="tiny", image_size=(64, 64), batch_size=4, epochs=2, device="cpu",
            precision="float32", workers=0, noplots=True,
        )  # fmt: skip
        own = folder / f"rank{ranks.rank}"
        own.mkdir()
        files = RunFiles.create(own, config, Hyperparameters())
        setup = prepare(files, Emitter([]), ranks)
        check_gradients(setup, ranks)
        check_statistics(setup, ranks)
        check_samples(setup, ranks)
        check_measurement(setup, ranks)
        check_errors(ranks)
    sys.stdout.write(f"rank {ranks.rank} of {ranks.world_size} agrees\n")


def fail_on_one_rank() -> None:
    with joined(Ranks.from_environment(), torch.device("cpu"), 30.0) as ranks:
        if not ranks.first:
            raise DataError("broken", where="here")
        time.sleep(60)


def check_gradients(setup: Setup, ranks: Ranks) -> None:
    """The step's gradient is that of the whole batches, summed over two of them."""
    state, rules = setup.state, setup.rules
    freeze_statistics(state.model)
    for counts in BOXES:
        images, targets = batch(counts)
        low, high = (number * len(counts) // 2 for number in (ranks.rank, ranks.rank + 1))
        part = images[low:high], targets_of(targets, low, high)
        state.model.zero_grad(set_to_none=True)
        items = torch.zeros(3)
        for _ in range(2):  # accumulated
            total, losses = rules.loss(state.model(part[0]), part[1])
            total.backward()
            items += losses
        share_step(ranks, state, items)
        found = gradients(state.model)
        state.model.zero_grad(set_to_none=True)
        whole = rules.loss.of_whole_batches()
        total, losses = whole(state.model(images), targets)
        (2 * total).backward()
        expected = gradients(state.model)
        torch.testing.assert_close(items, 2 * losses, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))
        if min(counts) != max(counts):  # negative control: parts that do not know of each other
            state.model.zero_grad(set_to_none=True)
            whole(state.model(part[0]), part[1])[0].backward()
            share_step(ranks, state, items)
            assert not torch.allclose(gradients(state.model) * 2, expected, rtol=1e-2)


def check_statistics(setup: Setup, ranks: Ranks) -> None:
    """After a step the statistics of the layers are the mean of the ranks', the same bits on all."""
    state = setup.state
    state.model.train()
    state.buffers.keep(state.model)
    before = copy.deepcopy(state.model.state_dict())
    images, _ = batch(BOXES[0])
    state.model(images[:2] if ranks.first else images[2:])
    mine = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
    share_step(ranks, state, torch.zeros(1))
    after = state.model.state_dict()
    everybody = ranks.gather((mine, {name: tensor.clone() for name, tensor in after.items()}))
    if ranks.first:
        (first, one), (second, other) = everybody
        name = next(name for name in mine if name.endswith("running_var"))
        assert not torch.equal(first[name], second[name])
        torch.testing.assert_close(one[name], (first[name] + second[name]) / 2)
        assert all(torch.equal(one[key], other[key]) for key in one)
        assert all(torch.equal(one[key], before[key]) for key in one if "anchor" in key or "weight" in key)


def check_samples(setup: Setup, ranks: Ranks) -> None:
    """Step by step, the ranks together see the samples that one rank would."""
    batches = list(setup.open_batches(0))
    setup.close_batches()
    numbers = ranks.gather(
        [[*zip(it.image_numbers.tolist(), pixel_sums(it.images), strict=True)] for it in batches]
    )
    if ranks.first:
        alone = replace(setup, rules=replace(setup.rules, ranks=ALONE), _stream=None, _store=None)
        expected = list(alone.open_batches(0))
        alone.close_batches()
        assert len(expected) == len(batches)
        for step, it in enumerate(expected):
            seen = [*zip(it.image_numbers.tolist(), pixel_sums(it.images), strict=True)]
            assert [*numbers[0][step], *numbers[1][step]] == seen
        assert [] in numbers[0], "the last batch of 13 pictures leaves rank 0 without one"


def check_measurement(setup: Setup, ranks: Ranks) -> None:
    """All figures are those of one rank."""
    shared = measure(setup, setup.state)
    alone = measure(replace(setup, rules=replace(setup.rules, ranks=ALONE)), setup.state)
    assert shared.numbers == alone.numbers
    assert shared.losses == alone.losses
    assert shared.losses
    for name in ("offsets", "boxes_xyxy_px", "scores", "class_ids"):
        assert np.array_equal(getattr(shared.predictions, name), getattr(alone.predictions, name))
    assert len(shared.predictions.scores) > 0


def check_errors(ranks: Ranks) -> None:
    """What fails on rank 0 fails on all."""
    expected = ZeroDivisionError if ranks.first else RankError
    with pytest.raises(expected, match="division" if ranks.first else "rank 0: ZeroDivisionError"):
        ranks.from_first(lambda: 1 // 0)
    with pytest.raises(UsageError, match="the words of rank 0 and of rank 1 are not the same; agree"):
        ranks.require_same("the words", str(ranks.rank), fix="agree")
    ranks.require_same("the words", "same", fix="agree")
    assert ranks.from_first(lambda: "word") == "word"
    assert ranks.exchange([ranks.rank, 0.1]) == [[0.0, 0.1], [1.0, 0.1]]


def batch(counts: list[int]) -> tuple[Tensor, Tensor]:
    """Noise with boxes: so many in each picture."""
    generator = torch.Generator().manual_seed(3)
    images = torch.rand((len(counts), 3, 64, 64), generator=generator)
    rows = [
        torch.cat(
            (torch.tensor([float(number), float(box % 2)]), torch.rand(4, generator=generator) * 0.4 + 0.3)
        )
        for number, count in enumerate(counts)
        for box in range(count)
    ]
    return images, torch.stack(rows) if rows else torch.zeros(0, 6)


def targets_of(targets: Tensor, low: int, high: int) -> Tensor:
    """Those of some pictures, numbered anew."""
    chosen = targets[(targets[:, 0] >= low) & (targets[:, 0] < high)].clone()
    chosen[:, 0] -= low
    return chosen


def freeze_statistics(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def gradients(model: nn.Module) -> Tensor:
    return torch.cat(
        [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
    )


def pixel_sums(images: Tensor) -> list[int]:
    return images.long().sum(dim=(1, 2, 3)).tolist()


if __name__ == "__main__":
    main()
