"""Searcher and scheduler on a study, called directly as Tune would call them, without Ray."""

import time

import pytest
from optuna.pruners import NopPruner
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from analysis.trials import PRUNED, TIME_BUDGET, ranked, read_trials
from tests.tuning.study.driver import EPOCHS, METRIC, Driver
from trainables.core.errors import ConfigError
from trainables.core.metric_names import Objective
from tuning.study.record_trial import save_failure, save_stop
from tuning.study.repeated_failures import REPEATS
from tuning.study.storage.open_study import open_study, study_storage


def states(driver):
    return [record.state for record in read_trials(driver.study)]


def test_a_full_trial_completes_with_its_best_value(tmp_path):
    driver = Driver(tmp_path)
    driver.run(lambda number: 0.75)
    (record,) = read_trials(driver.study)
    assert (record.state, driver.study.trials[0].value) == ("COMPLETE", 0.75)
    assert [epoch.epoch for epoch in record.epochs] == list(range(1, EPOCHS + 1))
    assert record.best.checkpoint.startswith("/checkpoints/session-001/ray-")
    assert record.best.checkpoint.endswith("/checkpoint_000009")
    assert "time_total_s" not in record.epochs[0].metrics


def worse_and_worse(number):
    return 1.0 - number / 10


def test_trials_that_fall_behind_are_paused_and_pruned_at_the_end(tmp_path):
    driver = Driver(tmp_path)
    for _ in range(4):
        driver.run(worse_and_worse)
    assert states(driver) == ["COMPLETE", *["RUNNING"] * 3]
    assert set(driver.steering.paused) == {1, 2, 3}
    # Trial 1 is the second of four at the first rung, so it continues, and pauses at the second. Then 4 and 5 start,
    # and trial 2 is the third of six.
    assert [driver.run(worse_and_worse)["number"] for _ in range(4)] == [1, 4, 5, 2]
    records = read_trials(driver.study)
    assert [record.state for record in records] == ["COMPLETE", *["PRUNED"] * 5]
    assert [len(record.epochs) for record in records] == [9, 4, 4, 2, 2, 2]
    assert {record.stopped for record in records[1:]} == {PRUNED}
    assert all(not record.is_candidate for record in records[1:])
    assert driver.steering.is_complete()
    assert driver.start()[1] == Searcher.FINISHED


def test_a_paused_trial_continues_from_its_checkpoint_before_new_trials_start(tmp_path):
    driver = Driver(tmp_path, num_samples=20)
    for _ in range(4):
        driver.run(worse_and_worse)
    trial_id, config = driver.start()
    assert (config["number"], config["folder"]) == (1, "trial-0001-after-2")
    assert config["resume_from"][0].endswith("/checkpoint_000002")
    for epoch in range(3, EPOCHS + 1):
        assert driver.report(trial_id, epoch, 1.1) == TrialScheduler.CONTINUE
    driver.searcher.on_trial_complete(trial_id)
    records = read_trials(driver.study)
    assert (records[1].state, [epoch.epoch for epoch in records[1].epochs]) == ("COMPLETE", [*range(1, EPOCHS + 1)])
    _, config = driver.start()
    assert (config["number"], config["folder"], config["resume_from"]) == (4, "trial-0004", [])


def test_a_continued_trial_knows_the_last_checkpoint_in_each_of_its_folders(tmp_path):
    first = Driver(tmp_path, num_samples=20)
    for _ in range(4):
        first.run(worse_and_worse)
    trial_id, before = first.start()
    first.report(trial_id, 3, 1.1)
    _, after = Driver(tmp_path, num_samples=20).start()
    assert (before["number"], after["number"], len(before["resume_from"])) == (1, 1, 1)
    assert after["resume_from"] == [f"/checkpoints/session-001/{trial_id}/checkpoint_000003", *before["resume_from"]]


def test_a_new_driver_knows_the_paused_trials(tmp_path):
    first = Driver(tmp_path, num_samples=20)
    for _ in range(3):
        first.run(worse_and_worse)
    second = Driver(tmp_path, num_samples=20)
    assert set(second.steering.paused) == {1, 2}
    assert second.steering.unfinished == []
    assert [second.run(worse_and_worse)["number"] for _ in range(2)] == [3, 1]


def test_a_driver_killed_before_it_judged_a_trial_at_a_rung_leaves_that_to_the_next(tmp_path):
    first = Driver(tmp_path, num_samples=20)
    first.run()
    trial_id, _ = first.start()
    first.study.pruner = NopPruner()  # the report is saved, and the driver dies before the decision
    for epoch in (1, 2):
        first.report(trial_id, epoch, 0.1)
    assert set(Driver(tmp_path, num_samples=20).steering.paused) == {1}


def test_a_promoted_trial_whose_driver_was_killed_continues(tmp_path):
    first = Driver(tmp_path, num_samples=20)
    for _ in range(4):
        first.run(worse_and_worse)
    assert first.start()[1]["number"] == 1
    assert Driver(tmp_path, num_samples=20).start()[1]["number"] == 1


def test_paused_trials_at_the_deadline_are_no_candidates(tmp_path):
    driver = Driver(tmp_path, num_samples=20)
    for _ in range(3):
        driver.run(worse_and_worse)
    driver.steering.deadline = time.monotonic() - 1
    assert driver.start()[1] == Searcher.FINISHED
    assert states(driver) == ["COMPLETE", "PRUNED", "PRUNED"]
    assert [record.number for record in ranked(read_trials(driver.study), METRIC)] == [0]


def test_paused_trials_continue_after_a_search_that_was_given_up(tmp_path):
    """Rerunning with --resume, once the cause is removed, must not find them ended."""
    first = Driver(tmp_path, num_samples=20)
    for _ in range(3):
        first.run(worse_and_worse)
    for _ in range(REPEATS):
        trial_id, _ = first.start()
        save_failure(first.steering.live[trial_id], "OSError: the disk is full")
        first.searcher.on_trial_complete(trial_id, error=True)
    assert first.steering.given_up is not None
    assert first.start()[1] == Searcher.FINISHED
    assert states(first) == ["COMPLETE", "RUNNING", "RUNNING", *["FAIL"] * REPEATS]
    assert set(Driver(tmp_path, num_samples=20).steering.paused) == {1, 2}


def test_paused_trials_end_with_a_last_trial_whose_configuration_is_invalid(tmp_path):
    """Tune asks for no further trial once the search is complete."""
    driver = Driver(tmp_path, num_samples=4)
    for _ in range(3):
        driver.run(worse_and_worse)

    def refuse(trial):
        raise ConfigError("lr must be > 0")

    driver.steering.configure = refuse
    assert driver.start()[1] is None
    assert driver.steering.is_complete()
    assert states(driver) == ["COMPLETE", "PRUNED", "PRUNED", "FAIL"]


def test_a_worker_that_dies_while_its_trial_pauses_fails_the_trial(tmp_path):
    driver = Driver(tmp_path, num_samples=20)
    driver.run()
    trial_id, _ = driver.start()
    for epoch in (1, 2):
        driver.report(trial_id, epoch, 0.1)
    driver.searcher.on_trial_complete(trial_id, error=True)
    assert driver.steering.paused == {}
    assert states(driver) == ["COMPLETE", "FAIL"]


def test_without_pruning_every_trial_runs_in_full(tmp_path):
    driver = Driver(tmp_path)
    driver.study.pruner = open_study(
        study_storage(tmp_path, None), "full", Objective(METRIC), EPOCHS, 0, pruning=False
    ).pruner
    for _ in range(4):
        driver.run(lambda number: 1.0 - number / 10)
    assert states(driver) == ["COMPLETE"] * 4


def test_the_search_ends_at_num_samples(tmp_path):
    driver = Driver(tmp_path, num_samples=2)
    driver.run()
    driver.run()
    assert driver.start()[1] == Searcher.FINISHED
    assert driver.steering.is_complete()


def test_one_more_trial_than_the_cluster_can_run_is_handed_out(tmp_path):
    driver = Driver(tmp_path)
    driver.steering.capacity = lambda: 2
    assert [isinstance(driver.start()[1], dict) for _ in range(4)] == [True, True, True, False]


def test_unfinished_trials_are_finished_at_the_deadline(tmp_path):
    first = Driver(tmp_path)
    trial_id, _ = first.start()
    first.report(trial_id, 1, 0.9)
    first.start()  # has no epoch yet
    second = Driver(tmp_path, deadline=time.monotonic() - 1)
    assert second.start()[1] == Searcher.FINISHED
    assert [trial.state.name for trial in second.study.trials] == ["PRUNED", "WAITING"]
    assert read_trials(second.study)[0].is_candidate
    assert second.steering.is_complete()


def test_max_concurrent_limits_the_running_trials(tmp_path):
    driver = Driver(tmp_path, max_concurrent=1)
    first, _ = driver.start()
    assert driver.start()[1] is None
    driver.searcher.on_trial_complete(first, error=True)
    assert driver.start()[1]["number"] == 1


def test_a_repeated_report_counts_once(tmp_path):
    driver = Driver(tmp_path)
    trial_id, _ = driver.start()
    driver.report(trial_id, 1, 0.5)
    assert driver.report(trial_id, 1, 0.5) == TrialScheduler.CONTINUE
    assert len(read_trials(driver.study)[0].epochs) == 1


def test_the_deadline_stops_trials_which_stay_candidates(tmp_path):
    driver = Driver(tmp_path)
    trial_id, _ = driver.start()
    driver.report(trial_id, 1, 0.5)
    driver.steering.deadline = time.monotonic() - 1
    assert driver.report(trial_id, 2, 0.6) == TrialScheduler.STOP
    driver.searcher.on_trial_complete(trial_id)
    (record,) = read_trials(driver.study)
    assert (record.state, record.stopped, record.is_candidate) == ("PRUNED", TIME_BUDGET, True)
    assert driver.start()[1] == Searcher.FINISHED
    assert driver.steering.is_complete()


def test_more_time_continues_cross_validated_trials_that_were_stopped_between_folds(tmp_path):
    """They cannot be members of an ensemble, while the trial that has all folds can."""
    first = Driver(tmp_path, num_samples=4, unit="fold")
    first.study.pruner = NopPruner()
    first.run()
    between, failed, starts = (first.start()[0] for _ in range(3))
    first.report(between, 1, 0.6)
    save_failure(first.steering.live[failed], "RuntimeError: in its first fold")
    first.steering.unfinished += [first.steering.live.pop(failed), first.steering.live.pop(starts)]
    first.steering.deadline = time.monotonic() - 1
    assert first.report(between, 2, 0.6) == TrialScheduler.STOP
    first.searcher.on_trial_complete(between)
    assert first.start()[1] == Searcher.FINISHED
    assert first.steering.is_complete()
    assert [trial.state.name for trial in first.study.trials] == ["COMPLETE", "RUNNING", "RUNNING", "WAITING"]
    assert [record.number for record in ranked(read_trials(first.study), METRIC)] == [0]

    second = Driver(tmp_path, num_samples=4, unit="fold")
    second.study.pruner = NopPruner()
    trial_id, config = second.start()
    assert (config["number"], config["resume_from"]) == (1, [f"/checkpoints/session-001/{between}/checkpoint_000002"])
    for fold in range(3, EPOCHS + 1):
        second.report(trial_id, fold, 0.6)
    second.searcher.on_trial_complete(trial_id)
    assert [second.run()["number"] for _ in range(2)] == [2, 3]
    assert second.start()[1] == Searcher.FINISHED
    assert states(second) == ["COMPLETE"] * 4


def test_a_new_driver_continues_running_trials(tmp_path):
    first = Driver(tmp_path, num_samples=3)
    first.run()
    trial_id, before = first.start()
    first.report(trial_id, 1, 0.7)
    first.report(trial_id, 2, 0.8)

    second = Driver(tmp_path, num_samples=3)
    _, after = second.start()
    assert (after["number"], after["train"]) == (1, before["train"])
    assert after["resume_from"][0].endswith("/checkpoint_000002")
    second_id = f"ray-{id(second)}-{second.count}"
    for epoch in range(3, EPOCHS + 1):
        second.report(second_id, epoch, 0.9)
    second.searcher.on_trial_complete(second_id)
    second.run()
    assert second.start()[1] == Searcher.FINISHED
    records = read_trials(second.study)
    assert [record.number for record in records] == [0, 1, 2]
    assert [epoch.epoch for epoch in records[1].epochs] == list(range(1, EPOCHS + 1))


def test_a_driver_killed_between_the_two_writes_of_a_report_leaves_no_gap(tmp_path):
    """The epoch's attribute is in the study; its value has not been reported to the pruner."""
    first = Driver(tmp_path)
    trial_id, _ = first.start()
    first.report(trial_id, 1, 0.7)
    optuna_trial = first.steering.live[trial_id]
    record = read_trials(first.study)[0].epochs[0]
    name, value = type(record)(2, record.metrics | {f"best_{METRIC}": 0.8}, 1, "c2").attribute()
    optuna_trial.set_user_attr(name, value)

    second = Driver(tmp_path)
    assert second.study.trials[0].intermediate_values == {1: 0.7, 2: 0.8}
    assert second.start()[1]["resume_from"][0] == "c2"


@pytest.mark.parametrize("stopped", [True, False])
def test_a_trial_whose_driver_was_killed_before_finishing_it_is_finished(tmp_path, stopped):
    first = Driver(tmp_path)
    trial_id, _ = first.start()
    for epoch in range(1, EPOCHS + 1 - stopped):
        first.report(trial_id, epoch, 0.5)
    if stopped:
        save_stop(first.steering.live[trial_id], PRUNED)
    second = Driver(tmp_path)
    assert states(second) == ["PRUNED" if stopped else "COMPLETE"]
    assert second.start()[1]["number"] == 1


@pytest.fixture
def unwritable(monkeypatch):
    """A function that lets the study refuse the end of a trial once."""

    def refuse_once(study):
        def refuse(*_, **__):
            monkeypatch.undo()
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(study, "tell", refuse)

    return refuse_once


@pytest.mark.parametrize("failed", [False, True])
def test_a_trial_whose_end_could_not_be_written_is_finished_by_the_next_call(tmp_path, unwritable, failed):
    """Tune catches the error, then runs the trial again, or fails it."""
    driver = Driver(tmp_path, num_samples=1)
    trial_id, _ = driver.start()
    for epoch in range(1, EPOCHS + 1):
        driver.report(trial_id, epoch, 0.9)
    unwritable(driver.study)
    with pytest.raises(OSError, match="Input/output error"):
        driver.searcher.on_trial_complete(trial_id)
    assert not driver.steering.is_complete()
    assert driver.report(trial_id, EPOCHS, 0.9) == TrialScheduler.CONTINUE
    driver.searcher.on_trial_complete(trial_id, error=failed)
    assert driver.steering.is_complete()
    assert states(driver) == ["COMPLETE"]


def test_a_full_trial_that_waits_at_the_deadline_because_its_end_could_not_be_written_is_complete(tmp_path):
    driver = Driver(tmp_path, num_samples=1)
    trial_id, _ = driver.start()
    for epoch in range(1, EPOCHS + 1):
        driver.report(trial_id, epoch, 0.9)
    driver.steering.unfinished.append(driver.steering.live.pop(trial_id))
    driver.steering.deadline = time.monotonic() - 1
    assert driver.start()[1] == Searcher.FINISHED
    assert states(driver) == ["COMPLETE"]


@pytest.mark.parametrize("waits", ["paused", "unfinished"])
def test_a_trial_that_waits_is_not_lost_if_its_end_cannot_be_written(tmp_path, unwritable, waits):
    driver = Driver(tmp_path)
    for _ in range(2):
        driver.run(worse_and_worse)
    if waits == "unfinished":
        trial_id, _ = driver.start()
        driver.report(trial_id, 1, 0.9)
        driver.steering.unfinished.append(driver.steering.live.pop(trial_id))
    driver.steering.deadline = time.monotonic() - 1
    unwritable(driver.study)
    with pytest.raises(OSError, match="Input/output error"):
        driver.steering.end_if_complete()
    driver.steering.end_if_complete()
    assert "RUNNING" not in states(driver)


def test_a_resumed_search_does_not_repeat_its_draws(tmp_path):
    first = Driver(tmp_path)
    drawn = [first.run()["train"]["lr"] for _ in range(2)]
    again = [Driver(tmp_path).run()["train"]["lr"] for _ in range(2)]
    assert len({*drawn, *again}) == 4


def test_an_invalid_configuration_fails_its_trial_and_not_the_search(tmp_path):
    driver = Driver(tmp_path)
    sane = driver.steering.configure

    def refuse(trial):
        raise ConfigError("lr must be > 0")

    driver.steering.configure = refuse
    assert driver.start()[1] is None
    driver.steering.configure = sane
    assert driver.start()[1]["number"] == 1
    assert states(driver) == ["FAIL", "RUNNING"]
    assert read_trials(driver.study)[0].failures == ("ConfigError: lr must be > 0",)


def test_recipes_come_first(tmp_path):
    driver = Driver(tmp_path)
    driver.study.enqueue_trial({"lr": 0.125})
    assert driver.run()["train"] == {"lr": 0.125}


def best_is_trial_12(number):
    return 0.9 if number == 12 else 0.5


@pytest.mark.parametrize("stop", [False, True])
def test_a_converged_search_starts_no_more_trials_if_asked(tmp_path, stop):
    driver = Driver(tmp_path, num_samples=26)
    driver.steering.stop_when_converged = stop
    driver.study.pruner = NopPruner()
    while driver.steering.new_trials_remain():
        driver.run(best_is_trial_12)
    assert states(driver) == ["COMPLETE"] * (23 if stop else 26)  # trial 12, and ten after it
    assert driver.steering.is_complete()
    assert driver.start()[1] == Searcher.FINISHED


def test_a_running_trial_that_improves_a_converged_search_lets_it_continue(tmp_path):
    driver = Driver(tmp_path, num_samples=40)
    driver.steering.stop_when_converged = True
    driver.study.pruner = NopPruner()
    late, _ = driver.start()
    while driver.steering.new_trials_remain():
        driver.run(best_is_trial_12)
    assert not driver.steering.is_complete()
    for epoch in range(1, EPOCHS + 1):
        driver.report(late, epoch, 0.95)
    driver.searcher.on_trial_complete(late)
    assert driver.start()[1]["number"] == 23


def test_candidates_are_ranked_best_first(tmp_path):
    driver = Driver(tmp_path, epochs=EPOCHS)
    driver.study.pruner = NopPruner()
    for _ in range(4):
        driver.run(lambda number: [0.5, 0.9, 0.7, 0.9][number])
    assert [record.number for record in ranked(read_trials(driver.study), METRIC)] == [1, 3, 2, 0]


def test_paused_trials_count_for_the_sampler_with_their_own_parameters_only(tmp_path):
    def branching(trial):
        head = trial.suggest_categorical("head", ["a", "b"])
        return {"lr": trial.suggest_float(f"lr of {head}", 0.0, 1.0)}

    drivers = []
    for _ in range(2):  # the second one resumes
        drivers.append(driver := Driver(tmp_path, num_samples=40))
        driver.steering.configure = branching
        while driver.steering.handed_out() < 16 * len(drivers):
            driver.run(lambda number: 1 / (1 + number))
    paused = [trial for trial in driver.study.trials if trial.number in driver.steering.paused]
    assert len(paused) > 10
    counted = [driver.study.sampler._sampler._get_params(trial, driver.study) for trial in paused]
    assert counted == [trial.params for trial in paused]
