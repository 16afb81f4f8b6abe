import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.infer.tracking import kalman
from vedette.infer.tracking.kalman import Motion, corrected, of_steady_size, predicted, started

FIELDS = ("position", "velocity", "position_variance", "covariance", "velocity_variance")
START = np.array([[100.0, 50.0, 40.0, 90.0], [300.0, 200.0, 60.0, 30.0]])


def assert_same(first, second, **tolerance):
    for name in FIELDS:
        np.testing.assert_allclose(getattr(first, name), getattr(second, name), err_msg=name, **tolerance)


def moved(motion, seconds, velocity):
    return Motion(motion.position, np.broadcast_to(velocity, motion.position.shape), *_variances(motion))


def _variances(motion):
    return motion.position_variance, motion.covariance, motion.velocity_variance


def plain_filter(box, measurements, seconds):
    """The textbook with an 8 x 8 matrix for one box: x = F x, P = F P F' + Q; K = P H' / (H P H' + R)."""
    size = np.sqrt(box[2] * box[3])
    state = np.concatenate((box, np.zeros(4)))
    variance = np.diag(
        np.repeat(((kalman._MEASUREMENT * size) ** 2, (kalman._FIRST_VELOCITY * size) ** 2), 4)
    )
    observe = np.eye(4, 8)
    for measured in measurements:
        size = np.sqrt(state[2] * state[3])
        drift, push = (kalman._DRIFT * size) ** 2, (kalman._ACCELERATION * size) ** 2
        move = np.eye(8) + seconds * np.eye(8, k=4)
        noise = np.kron(
            [
                [drift * seconds + push * seconds**3 / 3, push * seconds**2 / 2],
                [push * seconds**2 / 2, push * seconds],
            ],
            np.eye(4),
        )
        state, variance = move @ state, move @ variance @ move.T + noise
        spread = np.eye(4) * (kalman._MEASUREMENT**2 * measured[2] * measured[3])
        gain = variance @ observe.T @ np.linalg.inv(observe @ variance @ observe.T + spread)
        state = state + gain @ (measured - observe @ state)
        variance = (np.eye(8) - gain @ observe) @ variance
    return state, variance


def test_equal_to_the_textbook_with_matrices():
    random = np.random.default_rng(3)
    measurements = START[:1] + np.cumsum(random.normal(1, 3, (6, 4)), axis=0)
    motion = started(START)
    for measured in measurements:
        motion = corrected(predicted(motion, 0.04), np.array([0]), measured[None])
    state, variance = plain_filter(START[0], measurements, 0.04)
    np.testing.assert_allclose(motion.position[0], state[:4], rtol=1e-10)
    np.testing.assert_allclose(motion.velocity[0], state[4:], rtol=1e-8)
    for values, offset in (("position_variance", 0), ("velocity_variance", 4)):
        np.testing.assert_allclose(
            getattr(motion, values)[0], np.diag(variance)[offset : offset + 4], rtol=1e-8
        )
    np.testing.assert_allclose(motion.covariance[0], np.diag(variance, k=4), rtol=1e-8)


@settings(deadline=None)
@given(st.floats(1e-3, 5), st.floats(1e-3, 5))
def test_two_steps_are_one_of_their_sum(first, second):
    """So that a missing frame makes no difference, as long as the size, the unit of noise, stays."""
    motion = moved(started(START), 0, np.array([30.0, -8.0, 0.0, 0.0]))
    assert_same(predicted(predicted(motion, first), second), predicted(motion, first + second), rtol=1e-9)


def test_no_time_changes_nothing():
    motion = moved(started(START), 0, np.array([30.0, -8.0, 1.0, 2.0]))
    assert_same(predicted(motion, 0.0), motion)


def test_a_constant_velocity_is_learnt():
    velocity = np.array([60.0, -20.0, 5.0, 5.0])
    motion = started(START)
    for frame in range(1, 25):
        motion = corrected(predicted(motion, 0.04), np.array([0, 1]), START + velocity * 0.04 * frame)
    np.testing.assert_allclose(motion.velocity, np.tile(velocity, (2, 1)), atol=0.5)
    ahead = predicted(motion, 1.0).position
    np.testing.assert_allclose(ahead, START + velocity * (0.04 * 24 + 1.0), atol=1.0)


def test_uncertainty_grows_without_measurements_and_shrinks_with_them():
    motion = started(START)
    later = predicted(motion, 0.5)
    seen = corrected(later, np.array([1]), later.position[1:])
    assert (later.position_variance > motion.position_variance).all()
    assert (seen.position_variance[1] < later.position_variance[1]).all()
    np.testing.assert_array_equal(seen.position_variance[0], later.position_variance[0])
    np.testing.assert_allclose(seen.position, later.position)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.floats(1e-4, 60), st.lists(st.floats(-1e4, 1e4), min_size=4, max_size=4))))
def test_variances_stay_those_of_something(steps):
    """Positive, and the covariance no larger than both allow, for any times and boxes, empty ones too."""
    motion = started(START[:1])
    for seconds, box in steps:
        motion = corrected(predicted(motion, seconds), np.array([0]), np.array([box]))
        assert (motion.position_variance > 0).all()
        assert (motion.velocity_variance > 0).all()
        assert (
            motion.covariance**2 <= motion.position_variance * motion.velocity_variance * (1 + 1e-9)
        ).all()
        assert np.isfinite(motion.position).all()


def test_sizes_stay_above_nothing_and_steady_where_asked():
    motion = moved(started(START), 0, np.array([10.0, 0.0, -50.0, -50.0]))
    assert (predicted(motion, 10.0).position[:, 2:] > 0).all()
    steady = predicted(of_steady_size(motion, np.array([True, False])), 0.2)
    assert steady.position[0].tolist() == [102.0, 50.0, 40.0, 90.0]
    assert steady.position[1].tolist() == [302.0, 200.0, 50.0, 20.0]


def test_chosen_and_joined_put_back_together():
    motion = predicted(moved(started(START), 0, np.array([1.0, 2.0, 3.0, 4.0])), 0.1)
    assert_same(motion.chosen(np.array([0])).joined(motion.chosen(np.array([False, True]))), motion)
    assert len(motion) == 2


def test_values_given_are_left_alone():
    boxes = START.copy()
    motion = started(boxes)
    predicted(motion, 1.0)
    corrected(motion, np.array([0]), START[1:])
    of_steady_size(motion, np.array([True, True]))
    np.testing.assert_array_equal(boxes, START)
    with pytest.raises(ValueError, match="read-only"):
        motion.position_variance[0, 0] = 1.0  # shared by the four coordinates
