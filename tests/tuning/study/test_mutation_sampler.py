import math

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from analysis.trials import MUTATION, ORIGIN, PORTFOLIO, RECIPE, SAMPLER, WARM_START, read_trials
from tuning.study import mutation_sampler
from tuning.study.mutation_sampler import PARENTS, RATE, SHARE, STEP, MutationSampler, best_trials, mutated


def new_study(direction="maximize", sampler=None, origin=PORTFOLIO, **options):
    """Return a study whose first trial has an origin."""
    sampler = sampler or MutationSampler(RandomSampler(0), 0)
    study = optuna.create_study(direction=direction, sampler=sampler, **options)
    study.enqueue_trial({}, {ORIGIN: origin})
    return study


def report(study, values, state=None):
    """Run a trial without parameters that reports some values."""
    trial = study.ask()
    for step, value in enumerate(values, start=1):
        trial.report(value, step)
    if state is not None:
        study.tell(trial, values[-1] if state == TrialState.COMPLETE else None, state=state)
    return trial.number


def space(trial):
    """A conditional space with each kind of distribution."""
    params = {"net": trial.suggest_categorical("net", ["small", "large", "deep"])}
    if params["net"] == "deep":
        params["depth"] = trial.suggest_int("depth", 10, 20)
    params["lr"] = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    params["drop"] = trial.suggest_float("drop", 0, 0.5, step=0.1)
    params["batch"] = trial.suggest_int("batch", 8, 128, log=True)
    return params


def started(parents=PARENTS, **options):
    """Return a study with some complete trials of the space, the last one best."""
    study = new_study(**options)
    for value in range(parents):
        trial = study.ask()
        space(trial)
        trial.report(float(value), 1)
        study.tell(trial, value)
    return study


def ask(study):
    trial = study.ask()
    return space(trial)


def test_parents_are_the_best_of_those_that_have_come_furthest():
    study = new_study()
    short = report(study, [0.9])  # running or paused
    good, bad = report(study, [0.1, 0.5], TrialState.COMPLETE), report(study, [0.3, 0.2], TrialState.PRUNED)
    report(study, [0.9, 0.9], TrialState.FAIL)
    report(study, [0.9, math.nan])
    report(study, [])
    assert [trial.number for trial in best_trials(study, 9)] == [good, bad, short]
    assert [trial.number for trial in best_trials(study, 2)] == [good, bad]


def test_a_minimized_value_is_best_when_low():
    study = new_study("minimize")
    numbers = [report(study, [value]) for value in (2.0, 1.0, 2.0)]
    assert [trial.number for trial in best_trials(study, 3)] == [numbers[1], numbers[0], numbers[2]]


def test_a_mutation_keeps_most_of_one_of_the_best_trials():
    names = [f"x{place}" for place in range(20)]
    study, parents = new_study(), []
    for value in range(PARENTS + 300):
        trial = study.ask()
        params = [trial.suggest_float(name, 0, 1) for name in names]
        if value < PARENTS:
            trial.report(float(value), 1)
            parents.append(params)
            kept = []
        else:
            kept.append(max(sum(map(float.__eq__, params, parent)) for parent in parents) / len(names))
    mutations = [share for share in kept if share > 0]  # random draws keep nothing
    assert len(mutations) / len(kept) == pytest.approx(SHARE, abs=0.06)
    assert np.mean(mutations) == pytest.approx(1 - RATE, abs=0.02)


def test_every_parent_gets_its_share():
    study = started()
    parents = [trial.params["lr"] for trial in best_trials(study, PARENTS)]
    of_parent = [[one["lr"] for one in map(ask, [study] * 300)].count(lr) for lr in parents]
    assert min(of_parent) > 0.5 * max(of_parent)


def test_at_least_one_parameter_changes(monkeypatch):
    monkeypatch.setattr(mutation_sampler, "RATE", 0.0)
    monkeypatch.setattr(mutation_sampler, "SHARE", 1.0)
    study = optuna.create_study(direction="maximize", sampler=MutationSampler(RandomSampler(0), 0))
    for value in range(PARENTS):  # far from each other
        study.enqueue_trial({"a": 10 * value, "b": 10 * value}, {ORIGIN: PORTFOLIO})
    for value in range(PARENTS + 50):
        trial = study.ask()
        a, b = (trial.suggest_categorical(name, range(100)) for name in "ab")
        if value < PARENTS:
            trial.report(float(value), 1)
        else:
            assert a != b and 0 in (a % 10, b % 10)


@pytest.mark.parametrize("origin", [PORTFOLIO, WARM_START, RECIPE, SAMPLER])
def test_without_known_configurations_the_other_sampler_samples(origin):
    study = started(origin=origin)
    parents = {trial.params["lr"] for trial in best_trials(study, PARENTS)}
    assert any(ask(study)["lr"] in parents for _ in range(30)) == (origin != SAMPLER)


def test_until_there_are_parents_the_other_sampler_samples():
    other = optuna.create_study(sampler=RandomSampler(3))
    study = new_study(sampler=MutationSampler(RandomSampler(3), 0))
    for value in range(PARENTS):
        trial = study.ask()
        assert space(trial) == space(other.ask())
        trial.report(float(value), 1)


@pytest.mark.parametrize(
    "distribution",
    [
        FloatDistribution(-2.0, 6.0),
        FloatDistribution(1e-4, 1e4, log=True),
        FloatDistribution(0.0, 1.0, step=0.05),
        IntDistribution(0, 1000),
        IntDistribution(1, 4096, log=True),
        IntDistribution(10, 50, step=5),
        IntDistribution(0, 1),
        FloatDistribution(0.0, 0.2, step=0.1),
    ],
)
def test_a_number_stays_near_and_possible(distribution):
    generator, scale = np.random.default_rng(0), math.log if distribution.log else float
    width = scale(distribution.high) - scale(distribution.low)
    for value in (distribution.low, distribution.high, distribution.to_external_repr(distribution.low)):
        drawn = [mutated(value, distribution, generator) for _ in range(300)]
        assert all(distribution._contains(one) and type(one) is type(drawn[0]) for one in drawn)
        assert value not in drawn
        steps = [abs(scale(one) - scale(value)) / width for one in drawn]
        rounding = (distribution.step or 0) / width if not distribution.log else 0.05
        assert STEP / 2 < max(steps) <= STEP + rounding


def test_a_choice_becomes_another_one():
    generator = np.random.default_rng(0)
    choices = CategoricalDistribution(["a", None, 3])
    assert {mutated("a", choices, generator) for _ in range(40)} == {None, 3}
    assert mutated("a", CategoricalDistribution(["a"]), generator) == "a"


def test_a_value_that_the_space_no_longer_offers_is_drawn_again():
    study = new_study()
    for value in range(PARENTS):  # as if warm-started from another space
        study.add_trial(
            optuna.trial.create_trial(
                params={"lr": 5.0, "net": "gone"},
                distributions={"lr": FloatDistribution(1, 9), "net": CategoricalDistribution(["gone"])},
                intermediate_values={1: float(value)},
                value=value,
            )
        )
    assert all(1e-5 <= one["lr"] <= 1e-1 and one["net"] != "gone" for one in (ask(study) for _ in range(50)))


def test_a_new_process_draws_the_same_mutation(tmp_path, monkeypatch):
    monkeypatch.setattr(mutation_sampler, "SHARE", 1.0)
    study = new_study(storage=f"sqlite:///{tmp_path / 'study.db'}", study_name="a")
    for value in range(PARENTS + 1):  # the first one is random, and not among the best
        study.enqueue_trial({"net": "small"})
        trial = study.ask()
        space(trial)
        trial.report(float(value), 1)
    for _ in range(20):
        ask(study)
    copy = optuna.create_study(direction="maximize", sampler=MutationSampler(RandomSampler(9), 0))
    copy.add_trials(study.get_trials())
    drawn = [ask(study) for _ in range(40)]
    assert drawn == [ask(copy) for _ in range(40)]
    assert any("depth" in params for params in drawn)  # which no parent has


def test_the_study_says_which_trials_are_mutations(tmp_path, monkeypatch):
    place = f"sqlite:///{tmp_path / 'study.db'}"
    study = started(storage=place, study_name="a")
    study.enqueue_trial({}, {ORIGIN: SAMPLER})  # as one between two recipes
    study.enqueue_trial({"net": "small"}, {ORIGIN: RECIPE})  # the sampler completes it
    monkeypatch.setattr(mutation_sampler, "SHARE", 1.0)
    for _ in range(3):
        ask(study)
    monkeypatch.setattr(mutation_sampler, "SHARE", 0.0)
    ask(study)
    reopened = read_trials(optuna.load_study(storage=place, study_name="a"))
    origins = [PORTFOLIO, *[SAMPLER] * (PARENTS - 1), MUTATION, RECIPE, MUTATION, SAMPLER]
    assert [record.origin for record in reopened] == origins


def test_a_search_gets_nearer_to_the_best_than_random_search():
    def objective(trial):
        params = space(trial)
        near = abs(math.log10(params["lr"]) + 3) + abs(params["drop"] - 0.2) + abs(math.log2(params["batch"] / 32)) / 4
        return -near - (0.0 if params["net"] == "deep" else 1.0)

    def best(sampler):
        study = new_study(sampler=sampler)
        for _ in range(60):
            trial = study.ask()
            value = objective(trial)
            trial.report(value, 1)
            study.tell(trial, value)
        return study.best_value

    found = [(best(MutationSampler(RandomSampler(seed), seed)), best(RandomSampler(seed))) for seed in range(10)]
    assert np.mean([one > other for one, other in found]) >= 0.8
