"""The replay against schedules computed by hand."""

import numpy as np
import pytest

from benchmarks.curves.replay import Decision, Job, Replay, Searcher, result_at
from benchmarks.curves.table import Curve

PARAMS = {"backbone": "scratch_cnn", "frozen_quarters": 0, "augmentation": "none"}


class Script(Searcher):
    """Asks for given trials in order and answers reports from a table, else continues."""

    def __init__(self, jobs, decisions=()):
        self.jobs, self.decisions, self.calls = list(jobs), dict(decisions), []

    def ask(self):
        number = self.jobs.pop(0) if self.jobs else None
        return None if number is None else Job(number, {**PARAMS, "number": number})

    def report(self, trial, epoch, score, seconds):
        self.calls.append((trial, epoch, score, seconds))
        return self.decisions.get((trial, epoch), Decision.CONTINUE)

    def end(self, trial, failed):
        self.calls.append((trial, "failed" if failed else "ended"))


def curve(tune, seconds, failed_after=None):
    tune = np.array(tune)
    return Curve(tune, np.full(len(tune), float(seconds)), tune - 0.1, tune - 0.2, failed_after)


def replay(searcher, curves, workers=2, end=100.0, cache=0.0):
    return Replay(searcher, lambda params: curves[params["number"]], lambda _: cache, workers, end)


def times(run):
    return [one.time for one in run.incumbents]


def test_two_workers_take_the_time_that_the_schedule_says():
    # Worker one: trial 0 until 6, then trial 3 until 9. Worker two: trial 1 until 3, then trial 2 until 7.
    curves = [curve([0.1, 0.2], 3), curve([0.3], 3), curve([0.4, 0.9], 2), curve([0.2], 3)]
    searcher = Script(range(4))
    run = replay(searcher, curves)
    run.run()
    assert run.time == 9.0
    assert [call for call in searcher.calls if call[1] == "ended"] == [(n, "ended") for n in (1, 0, 2, 3)]
    assert times(run) == [3.0, 3.0, 5.0, 7.0]
    assert [one.tune for one in run.incumbents] == [0.1, 0.3, 0.4, 0.9]
    assert run.incumbents[-1].select == pytest.approx(0.8)
    assert run.incumbents[-1].test == pytest.approx(0.7)


def test_a_stopped_trial_frees_its_worker_and_counts_only_if_the_searcher_keeps_it():
    curves = [curve([0.9, 0.9], 1), curve([0.5, 0.6], 1)]
    for keeps, best in ((True, 0.9), (False, 0.6)):
        searcher = Script([0, 1], {(0, 1): Decision.STOP})
        searcher.keeps_stopped = keeps
        run = replay(searcher, curves, workers=1)
        assert run.run()[-1].tune == best
        assert run.time == 3.0


def test_a_paused_trial_continues_where_it_was():
    curves = [curve([0.1, 0.2, 0.3], 1), curve([0.2, 0.25], 5)]
    searcher = Script([0, 1, 0], {(0, 1): Decision.PAUSE})
    run = replay(searcher, curves, workers=1)
    run.run()
    assert [call[:2] for call in searcher.calls] == [(0, 1), (1, 1), (1, 2), (1, "ended"), (0, 2), (0, 3), (0, "ended")]
    assert run.time == 13.0


def test_a_paused_trial_is_the_result_only_if_the_searcher_keeps_it_or_it_runs_again():
    curves = [curve([0.9, 0.3], 1), curve([0.5, 0.6], 1)]
    for keeps, results in ((True, [0.9]), (False, [0.9, 0.5, 0.6, 0.9])):
        searcher = Script([0, 1, 0], {(0, 1): Decision.PAUSE})
        searcher.keeps_stopped = keeps
        run = replay(searcher, curves, workers=1)
        run.run()
        assert [one.tune for one in run.incumbents] == (results if keeps else results[1:])


def test_every_start_and_every_continuation_has_a_cost():
    curves = [curve([0.1, 0.2, 0.3], 1), curve([0.2, 0.25], 5)]
    run = replay(Script([0, 1, 0], {(0, 1): Decision.PAUSE}), curves, workers=1)
    run.start_cost = 0.5
    run.run()
    assert run.time == 13.0 + 3 * 0.5


def test_a_failure_costs_its_epoch_and_its_checkpoints_do_not_count():
    curves = [curve([0.9], 2, failed_after=1.5), curve([0.4], 2)]
    searcher = Script([0, 1])
    run = replay(searcher, curves, workers=1)
    run.run()
    assert searcher.calls == [(0, 1, 0.9, 2.0), (0, "failed"), (1, 1, 0.4, 2.0), (1, "ended")]
    assert run.time == 5.5
    assert run.incumbents[-1].tune == 0.4


def test_the_first_trial_pays_for_the_cache():
    curves = [curve([0.1], 2), curve([0.2], 2)]
    run = replay(Script([0, 1]), curves, workers=1, cache=7.0)
    run.run()
    assert times(run) == [9.0, 11.0]


def test_the_end_cuts_off_what_is_running():
    run = replay(Script([0]), [curve([0.1, 0.2, 0.3], 2)], end=5.0)
    assert times(run) == []
    run.run()
    assert times(run) == [2.0, 4.0]
    assert result_at(run.incumbents, 3.9).tune == 0.1
    assert result_at(run.incumbents, 1.0) is None
