"""The simulator against a schedule computed by hand and against Ray Tune, and the comparison of searchers."""

import itertools
import json
import math

import optuna
import pytest
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
from ray.tune.search import Searcher

from analysis.trials import read_trials
from benchmarks.search_quality import searchers
from benchmarks.search_quality.simulation import Simulation
from benchmarks.search_quality.synthetic import CHANCE, TOP, Curve, drawn, ordered, suggest, trainable, transfer
from trainables.core.metric_names import Objective
from tuning.ray_backend.scheduler import StudyScheduler
from tuning.ray_backend.searcher import StudySearcher
from tuning.study.steering import Steering
from tuning.study.storage.open_study import open_study, study_storage

METRIC = "balanced_accuracy"
EPOCHS = 9


class Queue(Searcher):
    """A searcher that suggests given configurations in order and records its calls by number of the trial."""

    def __init__(self, *configs):
        super().__init__(metric="score", mode="max")
        self.configs, self.numbers, self.calls = list(configs), {}, []

    def suggest(self, trial_id):
        if not self.configs:
            return Searcher.FINISHED
        self.numbers[trial_id] = len(self.numbers)
        return self.configs.pop(0)

    def on_trial_result(self, trial_id, result):
        self.calls.append((self.numbers[trial_id], "result", result["epoch"]))

    def on_trial_complete(self, trial_id, result=None, error=False):
        self.calls.append((self.numbers[trial_id], "error" if error else "complete", result and result["epoch"]))

    def save(self, checkpoint_path): ...

    def restore(self, checkpoint_path): ...


class RecordingASHA(ASHAScheduler):
    """ASHA that adds its calls to the searcher's list."""

    def __init__(self, calls):
        super().__init__("epoch", "score", "max", max_t=2 * EPOCHS, grace_period=3, reduction_factor=3)
        self.calls = calls

    def on_trial_add(self, tune_controller, trial):
        self.calls.append("added")
        super().on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller, trial, result):
        decision = super().on_trial_result(tune_controller, trial, result)
        self.calls.append((decision, result["epoch"], result["training_iteration"], result["done"]))
        return decision

    def on_trial_complete(self, tune_controller, trial, result):
        self.calls.append(("completed", result["epoch"], result["done"]))
        super().on_trial_complete(tune_controller, trial, result)

    def on_trial_error(self, tune_controller, trial):
        self.calls.append("failed")


def train(config):
    """Report the score ``epochs`` times, each after ``seconds``."""
    for epoch in range(1, config["epochs"] + 1):
        yield config["seconds"], {"epoch": epoch, "score": config["score"]}


def trial(seconds, epochs, score=0.0):
    return {"seconds": seconds, "epochs": epochs, "score": score}


def test_free_workers_take_the_next_trial_at_once():
    simulation = Simulation(Queue(trial(3, 2), trial(2, 2), trial(1, 1)), FIFOScheduler(), train, workers=2)
    events = [(event.time, event.trial.trial_id[-1], event.outcome and "report") for event in simulation.events()]
    assert events == [
        (2, "1", "report"),
        (3, "0", "report"),
        (4, "1", "report"),
        (4, "1", None),  # its worker takes the third trial
        (5, "2", "report"),
        (5, "2", None),
        (6, "0", "report"),
        (6, "0", None),
    ]
    assert {each.status for each in simulation.trials} == {"TERMINATED"}


def test_only_one_trial_is_requested_ahead():
    simulation = Simulation(Queue(*[trial(1, 1)] * 9), FIFOScheduler(), train, workers=2)
    next(simulation.events())
    assert len(simulation.trials) == 3


def test_num_samples_ends_an_endless_searcher():
    simulation = Simulation(Queue(*[trial(1, 1)] * 9), FIFOScheduler(), train, workers=2, num_samples=4)
    list(simulation.events())
    assert [each.status for each in simulation.trials] == ["TERMINATED"] * 4


def test_asha_stops_the_worse_trial_and_the_searcher_gets_its_last_report_once():
    searcher = Queue(trial(1, EPOCHS, 0.9), trial(1.5, EPOCHS, 0.1))
    scheduler = ASHAScheduler("epoch", "score", "max", max_t=EPOCHS, grace_period=3, reduction_factor=3)
    reports = [event.trial.trial_id[-1] for event in Simulation(searcher, scheduler, train, workers=2).events()]
    assert (reports.count("0"), reports.count("1")) == (EPOCHS, 3)
    assert [call for call in searcher.calls if call[0] == 1] == [(1, "result", 1), (1, "result", 2), (1, "complete", 3)]
    assert searcher.calls[-1] == (0, "complete", EPOCHS)  # ASHA stops it, too, at max_t


def test_a_worker_that_raises_ends_its_trial_with_an_error(tmp_path):
    def raises(config):
        yield 1.0, {"epoch": 1, "score": 0.5}
        yield 1.0, ValueError("no")

    searcher = Queue({}, {})
    simulation = Simulation(searcher, FIFOScheduler(), raises, workers=1, storage=str(tmp_path))
    assert [type(event.outcome) for event in simulation.events()] == [dict, ValueError] * 2
    assert searcher.calls == [(each, *call) for each in (0, 1) for call in (("result", 1), ("error", None))]
    assert simulation.trials[0].status == "ERROR"
    assert "ValueError: no" in (tmp_path / "session-001" / simulation.trials[0].trial_id / "error.txt").read_text()


@pytest.mark.ray
@pytest.mark.e2e
@pytest.mark.slow
def test_searcher_and_scheduler_get_the_same_calls_as_from_tune(tmp_path, monkeypatch):
    """Use one worker, so that the order is fixed: a full trial, a stopped one, one that raises, a full one."""

    def outcomes(config):
        for epoch in range(1, 6):
            yield ValueError("no") if epoch == config["raises_in"] else {"epoch": epoch, "score": config["score"]}

    def simulated(config):
        return ((1.0, outcome) for outcome in outcomes(config))

    def real(config):
        for outcome in outcomes(config):
            if isinstance(outcome, Exception):
                raise outcome
            tune.report(outcome)

    configs = [{"score": score, "raises_in": epoch} for score, epoch in [(0.9, 0), (0.1, 0), (0.5, 2), (0.95, 0)]]
    searcher, peer = Queue(*configs), Queue(*configs)
    list(Simulation(searcher, RecordingASHA(searcher.calls), simulated, workers=1, storage=str(tmp_path)).events())
    monkeypatch.delenv("TUNE_MAX_PENDING_TRIALS_PG", raising=False)  # set by our own driver
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        tune.Tuner(
            real,
            tune_config=tune.TuneConfig(search_alg=peer, scheduler=RecordingASHA(peer.calls), num_samples=-1),
            run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
        ).fit()
    finally:
        ray.shutdown()
    assert ("STOP", 3, 3, False) in peer.calls
    assert searcher.calls == peer.calls


def test_a_searcher_that_returns_none_is_asked_again():
    simulation = Simulation(Queue(None, None, trial(1, 1)), FIFOScheduler(), train, workers=1)
    assert [event.time for event in simulation.events()] == [3, 3]
    with pytest.raises(RuntimeError, match="returned no trial for 600 s"):
        list(Simulation(Queue(*[None] * 700), FIFOScheduler(), train, workers=1).events())


def steering(storage, num_samples):
    return Steering(
        study=open_study(storage, "search", Objective(METRIC), EPOCHS, seed=0),
        objective=Objective(METRIC),
        epochs=EPOCHS,
        num_samples=num_samples,
        max_concurrent=None,
        deadline=math.inf,
        configure=suggest,
        storage="/checkpoints",
    )


def test_our_searcher_completes_the_requested_trials_after_a_kill(tmp_path):
    shared = trainable(transfer, METRIC, seed=0, epochs=EPOCHS, raises=False)
    first = steering(study_storage(tmp_path, None), num_samples=8)
    killed = Simulation(StudySearcher(first), StudyScheduler(first), shared, workers=3)
    list(itertools.islice(killed.events(), 7))

    second = steering(study_storage(tmp_path, None), num_samples=8)
    resumed = Simulation(StudySearcher(second), StudyScheduler(second), shared, workers=3, session="session-002")
    list(resumed.events())
    records = read_trials(second.study)
    assert [record.number for record in records] == list(range(8))
    assert {record.state for record in records} <= {"COMPLETE", "PRUNED", "FAIL"}
    assert any(record.is_candidate for record in records)
    assert second.is_complete()


def test_a_paused_trial_continues_after_its_last_epoch(tmp_path):
    ours = steering(study_storage(tmp_path, None), num_samples=12)
    ours.study.sampler = optuna.samplers.RandomSampler(0)  # mutations are seldom worse than what came before
    worker = trainable(transfer, METRIC, seed=0, epochs=EPOCHS, raises=False)
    events = Simulation(StudySearcher(ours), StudyScheduler(ours), worker, workers=1).events()
    reports = [(event.trial.config, event.outcome["epoch"]) for event in events if "epoch" in (event.outcome or {})]
    epochs = [(config["number"], epoch) for config, epoch in reports]
    assert len(epochs) == len(set(epochs))
    assert any(config["resume_from"] for config, _ in reports)


@pytest.mark.parametrize(("objective", "crosses"), [(transfer, True), (drawn(0), True), (ordered(0), False)])
def test_no_configuration_exceeds_the_best_and_only_ordered_curves_do_not_cross(objective, crosses):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    curves = [objective(suggest(study.ask()), 15) for _ in range(300)]
    assert all(CHANCE <= curve.final <= TOP for curve in curves)
    assert all(curve.value(15) == pytest.approx(curve.final) for curve in curves)
    first, last = [curve.value(1) for curve in curves], [curve.final for curve in curves]
    pairs = list(itertools.combinations(range(100), 2))
    crossed = sum((first[i] - first[j]) * (last[i] - last[j]) < 0 for i, j in pairs)
    assert 0.05 < crossed / len(pairs) < 0.5 if crosses else crossed == 0
    assert any(curve.diverges_in for curve in curves)


def test_the_best_configuration_reaches_the_top():
    best = {
        "backbone": "efficientnet_b2",
        "frozen_quarters": 1,
        "head": "mlp",
        "head_width": 256,
        "head_dropout": 0.3,
        "class_weights": "balanced",
        "sampler": "shuffle",
        "loss": "focal",
        "focal_gamma": 2.0,
        "optimizer": "adamw",
        "adam_lr": 10**-3.35,
        "weight_decay": 1e-3,
        "schedule": "cosine",
        "batch_size": 32,
        "augmentation": "medical",
    }
    assert transfer(best, 15).final == pytest.approx(TOP)
    assert transfer(best | {"adam_lr": 1e-2}, 15).final < TOP - 0.1


def test_ours_picks_the_best_full_trial_and_the_others_the_best_score():
    def objective(config, epochs):
        return Curve(config["final"], lambda _: 1.0, None, 1.0)

    reported = [(True, 0.6, {"final": 0.7}), (False, 0.8, {"final": 0.5})]
    assert searchers.rating(reported, objective, EPOCHS, prefer_full=True) == 0.7
    assert searchers.rating(reported, objective, EPOCHS, prefer_full=False) == 0.5
    assert searchers.rating([], objective, EPOCHS, prefer_full=True) == CHANCE


def test_the_comparison_end_to_end(tmp_path):
    output = tmp_path / "searchers.json"
    searchers.main(seeds=2, budget=60, epochs=EPOCHS, output=output)
    written = json.loads(output.read_text())
    assert set(written["versions"]) == {"python", "ray", "optuna", "numpy"}
    for figures in written["objectives"].values():
        assert set(figures["runs"]) == set(searchers.METHODS)
        assert all(len(done["regrets"]) == 4 for runs in figures["runs"].values() for done in runs)
        assert figures["summary"]["ours"]["excess_over_ours"][-1]["high"] == 0.0
        assert all(0 < done["full"] <= 60 // EPOCHS for done in figures["runs"]["random"])
