"""The end of a driver that meets trials which another driver has finished."""

import io
from contextlib import nullcontext
from types import SimpleNamespace

from rich.console import Console

from tests.tuning.study.driver import Driver
from tuning.search import session


def test_a_driver_whose_trial_another_one_has_finished_ends_in_one_line(tmp_path, monkeypatch):
    losing = Driver(tmp_path, url=f"sqlite:///{tmp_path}/study.db")
    trial_id, _ = losing.start()
    winning = Driver(tmp_path, url=f"sqlite:///{tmp_path}/study.db")
    winning.study.tell(0, 0.5)

    def train(search, console):
        losing.report(trial_id, 1, 0.9)

    folder = SimpleNamespace(open=lambda *plan: nullcontext(losing.study))
    plan = SimpleNamespace(objective=None, steps=1, seed=0, pruning=True)
    monkeypatch.setattr(session, "check_search", lambda *given: SimpleNamespace(plan=plan, folder=folder))
    monkeypatch.setattr(session, "join_cluster", lambda *given: None)
    monkeypatch.setattr(session, "open_search", lambda *given: None)
    monkeypatch.setattr(session, "_run_to_end", train)
    console = Console(file=io.StringIO(), width=200)
    assert session.run(SimpleNamespace(resume=True), console) == 1
    assert console.file.getvalue() == "Another driver has finished trials of search search, so this one ends.\n"
