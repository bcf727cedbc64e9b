import itertools
import math

import pytest

from trainables.core.training.optimization.lr_schedules import SCHEDULES, lr_factor

STEPS = 10


def factors(config):
    return [lr_factor(config, step, STEPS) for step in range(config.epochs * STEPS)]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_schedule_begins_after_the_epochs_of_the_head(config, schedule):
    shared = {"schedule": schedule, "warmup_ratio": 0.25}
    assert factors(config(epochs=6, head_epochs=2, **shared)) == [1.0] * 20 + factors(config(epochs=4, **shared))


def test_constant(config):
    assert factors(config(epochs=4)) == [1.0] * 40


def test_cosine_is_half_a_cosine(config):
    expected = [0.5 * (1 + math.cos(math.pi * step / 40)) for step in range(40)]
    assert factors(config(epochs=4, schedule="cosine")) == pytest.approx(expected)


def test_step_falls_after_whole_periods(config):
    chosen = factors(config(epochs=4, schedule="step", decay_rate=0.1, decay_epochs=2.0))
    assert chosen == pytest.approx([1.0] * 20 + [0.1] * 20)


def test_exponential_reaches_the_rate_after_each_period(config):
    chosen = factors(config(epochs=4, schedule="exponential", decay_rate=0.5, decay_epochs=1.0))
    assert chosen[::STEPS] == pytest.approx([1, 0.5, 0.25, 0.125])
    assert all(later < earlier for earlier, later in itertools.pairwise(chosen))


def test_cyclic_is_a_triangle(config):
    chosen = factors(config(epochs=4, schedule="cyclic", cycle_epochs=2.0))
    assert chosen[0] == chosen[20] == 1.0
    assert chosen[10] == chosen[30] == pytest.approx(0.1)
    assert chosen[5] == pytest.approx(0.55)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warm_up_rises_to_the_schedule(config, schedule):
    chosen = factors(config(epochs=4, schedule=schedule, warmup_ratio=0.25))
    rising = chosen[:11]
    assert rising == sorted(rising)
    assert rising[0] == pytest.approx(1 / 11)
    assert chosen[10] == 1.0
    assert all(0 <= factor <= 1 for factor in chosen)
