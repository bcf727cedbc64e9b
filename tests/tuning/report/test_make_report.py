import io
from types import SimpleNamespace

import optuna
import pytest
from rich.console import Console

import tuning.report.make_report
from tests.analysis.report.report_inputs import made_up_study
from trainables.core.errors import UserError
from trainables.worker.inference import Question, examine_here
from tuning.report.make_report import gather_search, look, make_report, report_at_end
from tuning.report.remake_report import Options, remake
from tuning.search.data_request import DataRequest
from tuning.study.attributes import check_identity, save_data_request
from tuning.study.opening_ledger import Openings


def console():
    return Console(file=io.StringIO(), width=200)


@pytest.fixture
def study(small_data):
    study = made_up_study()
    identity = {"space": "made_up_space", "metric": "balanced_accuracy", "max-epochs": 9, "pruning": True}
    check_identity(study, identity)
    save_data_request(study, DataRequest(small_data.place, seed=0))
    return study


def test_a_search_without_an_ensemble_has_a_report_and_test_stays_sealed(study, small_data, tmp_path):
    def never(members, questions):
        raise AssertionError("nothing is to be inspected")

    file, told = tmp_path / "report.html", console()
    make_report(study, small_data, str(tmp_path), Openings(0, 0), never, file, told)
    assert "test set is still sealed" in file.read_text()
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
    assert f"Report: {file} (" in told.file.getvalue()


def test_rungs_and_names_are_those_of_the_search(study, small_data):
    search = gather_search(study, small_data)
    assert search.rungs == (3,)
    assert len(search.file_names) == 120
    assert search.file_names[0].endswith("few/000.png")


def test_members_that_are_gone_are_told(small_data):
    test = small_data.splits["test"]
    best = SimpleNamespace(best=SimpleNamespace(checkpoint="nowhere/session/trial/checkpoint"))
    ensemble = SimpleNamespace(members=[best], best_member=0, checkpoints=[best.best.checkpoint], test_predictions=None)
    looked = look(small_data, ensemble, lambda members, asked: examine_here(small_data, members, asked))
    assert looked.missing.startswith("the members could not be inspected (")
    assert isinstance(looked.question, Question)
    assert set(test) <= set(looked.question.seen)


@pytest.mark.parametrize("broken", ["make_report", "log_file"])
def test_a_search_is_not_worse_for_a_report_that_fails(monkeypatch, tmp_path, broken):
    def fails(*arguments):
        raise RuntimeError("no space left")

    monkeypatch.setattr(
        tuning.report.make_report, "make_report", fails if broken == "make_report" else lambda *arguments: None
    )
    tracker, told = SimpleNamespace(log_file=fails if broken == "log_file" else None), console()
    folder = SimpleNamespace(local=tmp_path, checkpoints="")
    study = optuna.create_study(study_name="mine")
    report_at_end(study, None, Openings(1, 0), examine_here, folder, tracker, told)
    line = "the report could not be made or logged (no space left): tune-report mine makes it\n"
    assert told.file.getvalue() == line


def test_a_search_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="has none named 'nothing'"):
        remake(Options("nothing", storage=str(tmp_path)), console())
