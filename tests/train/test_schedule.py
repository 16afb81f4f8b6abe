import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.config.hyperparameters import PRESETS, Hyperparameters
from vedette.train.length import Turn
from vedette.train.optimizer import scaled_weight_decay
from vedette.train.schedule import (
    Schedule,
    cosine_factor,
    fitted_nominal_batch,
    linear_factor,
    warmup_length,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "training"
CURVES = json.loads((GOLDEN / "02-lr-factor.json").read_text())["cases"]
RUNS = json.loads((GOLDEN / "23-schedule.json").read_text())["cases"]
PRESET_OF_FILE = {"hyp.scratch.yaml": "yolov5-v4", "hyp.finetune.yaml": "yolov5-v4-finetune"}


@pytest.mark.parametrize("case", CURVES, ids=lambda case: case["id"])
def test_golden_learning_rate_curve(case):
    """tests/golden/training/02-lr-factor.json; float64, the formula itself."""
    given_ = case["input"]
    values = [cosine_factor(x / given_["epochs"], given_["lrf"]) for x in given_["x"]]
    assert values == pytest.approx(case["expected"], rel=1e-12)


def published(case):
    given_ = case["input"]
    return Schedule.build(
        Hyperparameters(**PRESETS[PRESET_OF_FILE[given_["hyp_file"]]]),
        epochs=given_["epochs"],
        images_per_epoch=given_["n_images"],
        batch_size=given_["total_batch_size"],
        published=True,
    )


@pytest.mark.parametrize("case", RUNS, ids=lambda case: case["id"])
def test_golden_published_schedule(case):
    """tests/golden/training/23-schedule.json; float64, 1e-12 relative for another order of operations."""
    schedule, expected = published(case), case["expected"]
    assert schedule.batches_per_epoch == expected["batches_per_epoch"]
    assert schedule.warmup_iterations == expected["warmup_iterations"]
    for sample in expected["samples"]:
        settings_ = schedule.at(sample["ni"])
        assert list(settings_.learning_rates) == pytest.approx(sample["lr"], rel=1e-12), sample["ni"]
        assert settings_.accumulate == sample["accumulate"]
        assert settings_.steps == sample["optimizer_step"]
        assert settings_.clears_gradients == (sample["ni"] % schedule.batches_per_epoch == 0)
        if case["input"]["optimizer"] == "SGD":
            assert settings_.momentum == pytest.approx(sample["momentum"][0], rel=1e-12)
    steps = [iteration for iteration in range(schedule.iterations) if schedule.at(iteration).steps]
    first = expected["first_40_optimizer_steps"]
    assert steps[: len(first)] == first
    assert len(steps) == expected["total_optimizer_steps"]


@pytest.mark.parametrize("case", RUNS, ids=lambda case: case["id"])
def test_golden_weight_decay(case):
    """tests/golden/training/23-schedule.json, "scaled": weight_decay."""
    preset = Hyperparameters(**PRESETS[PRESET_OF_FILE[case["input"]["hyp_file"]]])
    scaled = scaled_weight_decay(preset.weight_decay, case["input"]["total_batch_size"], 64)
    assert scaled == pytest.approx(case["expected"]["scaled"]["weight_decay"], rel=1e-12)


schedules = st.builds(
    Schedule.build,
    st.builds(
        Hyperparameters,
        warmup_epochs=st.floats(0, 5),
        warmup_min_iterations=st.sampled_from([0, 0, 20, 1000]),
        warmup_max_fraction=st.sampled_from([0.1, 0.5, 1.0]),
        nominal_batch=st.sampled_from([0, 16, 64, 100]),
    ),
    epochs=st.integers(1, 12),
    images_per_epoch=st.integers(1, 120),
    batch_size=st.integers(1, 40),
    kind=st.sampled_from(["cosine", "linear"]),
    published=st.just(False),
)


@settings(max_examples=100, deadline=None)
@given(schedule=schedules)
def test_no_gradient_is_discarded_and_every_epoch_ends_with_a_step(schedule):
    since_step = 0
    for iteration in range(schedule.iterations):
        now = schedule.at(iteration)
        since_step += 1
        assert not now.clears_gradients
        assert since_step <= now.accumulate
        if now.steps:
            since_step = 0
        if (iteration + 1) % schedule.batches_per_epoch == 0:
            assert now.steps


@settings(max_examples=100, deadline=None)
@given(schedule=schedules)
def test_groups_of_an_epoch_differ_by_one_batch_at_most(schedule):
    for epoch in range(schedule.epochs):
        sizes, size = [], 0
        for position in range(schedule.batches_per_epoch):
            size += 1
            if schedule.at(epoch * schedule.batches_per_epoch + position).steps:
                sizes.append(size)
                size = 0
        assert max(sizes) - min(sizes) <= 1


@settings(max_examples=60, deadline=None)
@given(schedule=schedules, share=st.floats(0, 1), published_rule=st.booleans())
def test_counted_steps_equal_the_steps_taken(schedule, share, published_rule):
    values = {field: getattr(schedule, field) for field in schedule.__dataclass_fields__}
    schedule = Schedule(**{**values, "published": published_rule})
    end = round(share * schedule.iterations)
    assert schedule.optimizer_steps(end) == sum(schedule.at(iteration).steps for iteration in range(end))
    assert schedule.optimizer_steps() == schedule.optimizer_steps(schedule.iterations)


@settings(max_examples=60, deadline=None)
@given(schedule=schedules)
def test_rates_are_continuous_where_the_warmup_ends(schedule):
    end = schedule.warmup_iterations
    if not 0 < end < schedule.iterations:
        return
    last, after = schedule.at(end - 1), schedule.at(end)
    step = 1 / end + 4 / schedule.iterations
    for before, now in zip(last.learning_rates, after.learning_rates, strict=True):
        assert abs(before - now) <= step * max(schedule.initial_rate, schedule.warmup_bias_rate)
    assert len(set(after.learning_rates)) == 1
    assert after.momentum == schedule.momentum


@settings(max_examples=60, deadline=None)
@given(schedule=schedules)
def test_rates_fall_after_the_warmup_towards_the_final_one(schedule):
    rates = [schedule.at(i).learning_rates[0] for i in range(schedule.warmup_iterations, schedule.iterations)]
    assert all(later <= earlier + 1e-15 for earlier, later in itertools.pairwise(rates))
    assert all(rate >= schedule.initial_rate * schedule.final_factor - 1e-15 for rate in rates)


def test_the_warmup_of_a_small_data_set_ends():
    """205 pictures, 60 epochs, batch 16: three epochs, not the published thousand iterations of 780."""
    small = Schedule.build(Hyperparameters(), epochs=60, images_per_epoch=205, batch_size=16)
    assert small.warmup_iterations == 39
    assert small.nominal_batch == 16
    assert small.optimizer_steps() == 780
    reference = Schedule.build(
        Hyperparameters(**PRESETS["yolov5-v4"]),
        epochs=60,
        images_per_epoch=205,
        batch_size=16,
        published=True,
    )
    assert reference.warmup_iterations == 1000 > reference.iterations


@pytest.mark.parametrize(
    ("nominal", "batch", "images", "expected"),
    [
        (0, 16, 12_300, 16),
        (0, 8, 12_300, 16),
        (0, 16, 32 * 20_000, 32),
        (0, 16, 64 * 20_000 - 1, 32),
        (0, 16, 300 * 118_287, 64),
        (0, 128, 300 * 118_287, 128),
        (64, 16, 100, 64),
        (64, 128, 100, 64),
    ],
)
def test_the_nominal_batch_is_fitted_to_the_run(nominal, batch, images, expected):
    assert fitted_nominal_batch(nominal, batch, images) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 30),
        ({"warmup_epochs": 0.0}, 0),
        ({"warmup_epochs": 1.5}, 15),
        ({"warmup_max_fraction": 0.05}, 25),
        ({"warmup_min_iterations": 40}, 40),
        ({"warmup_min_iterations": 1000}, 50),
        ({"warmup_min_iterations": 1000, "warmup_max_fraction": 1.0}, 1000),
    ],
)
def test_the_warmup_is_bounded_on_both_sides(changes, expected):
    assert warmup_length(Hyperparameters(**changes), epochs=50, batches_per_epoch=10) == expected


def test_curves_meet_at_both_ends():
    for curve in (cosine_factor, linear_factor):
        assert curve(0, 0.1) == pytest.approx(1)
        assert curve(1, 0.1) == pytest.approx(0.1)
    assert linear_factor(0.25, 0.2) == pytest.approx(0.8)


def test_adam_and_sgd_warm_up_with_biases_from_above():
    schedule = Schedule.build(Hyperparameters(), epochs=100, images_per_epoch=160, batch_size=16)
    start = schedule.at(0)
    assert start.learning_rates == (0.0, 0.0, 0.1)
    assert start.momentum == 0.8
    assert start.accumulate == 1


@settings(max_examples=60, deadline=None)
@given(
    began_with=st.integers(1, 30),
    part=st.floats(0, 1),
    epochs=st.integers(1, 60),
    kind=st.sampled_from(["cosine", "linear"]),
    is_published=st.booleans(),
)
def test_a_turn_bends_the_rate_without_a_jump_or_a_rise(began_with, part, epochs, kind, is_published):
    """What is done stays; from there on the rate never rises again and ends where it always would."""
    batches = 5
    hyperparameters = Hyperparameters(lr0=0.01, warmup_epochs=0)
    schedule = Schedule.build(
        hyperparameters, epochs=began_with, images_per_epoch=batches, batch_size=1, kind=kind,
        published=is_published,
    )  # fmt: skip
    step = int(part * schedule.iterations)
    turned = replace(schedule, turns=(Turn(step, max(epochs, -(-step // batches), 1)),))
    rates = [turned.at(iteration).learning_rates[1] for iteration in range(turned.iterations + 1)]
    assert rates[:step] == [schedule.at(iteration).learning_rates[1] for iteration in range(step)]
    assert all(later <= earlier * (1 + 1e-12) for earlier, later in itertools.pairwise(rates))
    if not is_published and turned.iterations > step:
        assert rates[-1] == pytest.approx(hyperparameters.lr0 * hyperparameters.lrf)
    if not is_published and step < schedule.iterations:
        assert rates[step] == pytest.approx(schedule.at(step).learning_rates[1])


def test_a_turn_changes_neither_warm_up_nor_accumulation():
    schedule = Schedule.build(Hyperparameters(), epochs=50, images_per_epoch=64, batch_size=4)
    turned = replace(schedule, turns=(Turn(16, 9),))
    for iteration in range(9 * 16):
        before, after = schedule.at(iteration), turned.at(iteration)
        assert (before.momentum, before.accumulate, before.steps) == (
            after.momentum,
            after.accumulate,
            after.steps,
        )
    assert turned.optimizer_steps() == schedule.optimizer_steps(9 * 16)
