"""The ends of a driver: another driver has finished its trials, or its trials fail alike."""

import io
import os
import traceback
from contextlib import nullcontext, suppress
from types import SimpleNamespace

import pytest
from rich.console import Console

from tests.tuning.study.driver import Driver
from tuning.console import Terminal, say
from tuning.ray_backend.ray_errors import TuneError
from tuning.search import session
from tuning.study.attributes import is_finished
from tuning.study.record_trial import save_failure


@pytest.fixture
def start(monkeypatch):
    """Return a function that runs a session on a study with another training."""

    def start(study, train, console, local=None):
        folder = SimpleNamespace(open=lambda *plan, new: nullcontext(study), local=local)
        plan = SimpleNamespace(objective=None, steps=1, seed=0, pruning=True)
        monkeypatch.setattr(session, "check_search", lambda *given: SimpleNamespace(plan=plan, folder=folder))
        monkeypatch.setattr(session, "join_cluster", lambda *given: None)
        monkeypatch.setattr(session, "open_search", lambda *given: None)
        monkeypatch.setattr(session, "_run_to_end", train)
        return session.run(SimpleNamespace(resume=True), console)

    return start


def test_a_driver_whose_trial_another_one_has_finished_ends_in_one_line(tmp_path, start):
    losing = Driver(tmp_path, url=f"sqlite:///{tmp_path}/study.db")
    trial_id, _ = losing.start()
    winning = Driver(tmp_path, url=f"sqlite:///{tmp_path}/study.db")
    winning.study.tell(0, 0.5)

    def train(search, console):
        losing.report(trial_id, 1, 0.9)

    console = Console(file=io.StringIO(), width=200)
    assert start(losing.study, train, console) == 1
    assert console.file.getvalue() == "Another driver has finished trials of search search, so this one ends.\n"


@pytest.mark.parametrize("in_callback", [True, False])
def test_a_closed_output_is_no_failure_of_the_search(tmp_path, start, in_callback):
    """Tune turns an error in a callback, such as the one that prints each report, into its own."""

    def train(search, console):
        try:
            say(console, "trial 0 epoch 1/3")
        except BrokenPipeError:
            if in_callback:
                raise TuneError(traceback.format_exc()) from None
            raise

    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(BrokenPipeError), os.fdopen(writer, "w") as output:
        try:
            start(Driver(tmp_path).study, train, Terminal(file=output), tmp_path)
        finally:
            os.dup2(os.open(os.devnull, os.O_WRONLY), writer)  # what is left in the buffer
    assert not (tmp_path / "driver-error.txt").exists()


def test_trials_that_could_not_be_ended_during_training_are_ended_before_the_test_set_is_opened(tmp_path, monkeypatch):
    driver = Driver(tmp_path, num_samples=2)

    def train(search, console):
        driver.run()
        with monkeypatch.context() as unwritable, suppress(OSError):  # Tune catches it
            unwritable.setattr(driver.study, "tell", refuse)
            driver.run(lambda number: 0.1)

    def refuse(*arguments, **more):
        raise OSError(5, "Input/output error")

    states = []

    def finish(search, console):
        states.extend(trial.state.name for trial in driver.study.trials)

    tracker = SimpleNamespace(close=lambda status: None, refused={}, unsent=None)
    monkeypatch.setattr(session, "_train", train)
    monkeypatch.setattr(session, "finish", finish)
    session._run_to_end(SimpleNamespace(steering=driver.steering, tracker=tracker), Console(quiet=True))
    assert states == ["COMPLETE", "PRUNED"]


@pytest.mark.parametrize("any_report", [True, False])
def test_a_search_that_was_given_up_fails_and_opens_no_test_set(tmp_path, monkeypatch, any_report):
    driver = Driver(tmp_path)
    if any_report:
        driver.run()

    def train(search, console):
        for _ in range(3):
            trial_id, _ = driver.start()
            save_failure(driver.steering.live[trial_id], "DeviceError: no GPU")
            driver.searcher.on_trial_complete(trial_id, error=True)

    def finish(search, console):
        pytest.fail("the search goes on to its ensemble")

    closed = []
    tracker = SimpleNamespace(close=closed.append, refused={}, unsent=None)
    monkeypatch.setattr(session, "_train", train)
    monkeypatch.setattr(session, "finish", finish)
    console = Console(file=io.StringIO(), width=400)
    assert session._run_to_end(SimpleNamespace(steering=driver.steering, tracker=tracker), console) == 1
    assert closed == ["FAILED"]
    assert console.file.getvalue() == (
        "Search stopped: 3 trials in a row failed with the same error: DeviceError: no GPU. This run has built "
        "no ensemble and not opened the test set. Fix the cause and rerun with --resume.\n"
    )
    assert is_finished(driver.study) is not any_report  # only a search with results asks for --resume
