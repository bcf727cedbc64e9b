import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from analysis.ensembles.result import Openings
from analysis.report.summary import opening
from tests.analysis.report.report_inputs import made_up_study
from trainables.core.data.splits.groups import Grouping
from trainables.core.errors import UserError
from trainables.core.metric_names import Objective
from tuning.report.make_report import ReportSource, gather_search, make_report, report_at_end
from tuning.report.remake_report import ReportOptions, remake
from tuning.study.attributes import save_data_request
from tuning.study.data_request import DataRequest
from tuning.study.identity import check_identity
from tuning.study.search_folder import existing_folder, find_folder
from tuning.study.successive_halving import rungs


def console():
    return Console(file=io.StringIO(), width=200)


def never(members, requests):
    raise AssertionError("no member must be inspected")


@pytest.fixture
def study(small_data):
    study = made_up_study()
    identity = {"space": "made_up_space", "metric": "balanced_accuracy", "max-epochs": 9, "pruning": True}
    check_identity(study, identity)
    save_data_request(study, DataRequest(small_data.place, seed=0))
    return study


def test_a_search_without_an_ensemble_has_a_report_and_test_stays_sealed(study, small_data, tmp_path):
    file, printed = tmp_path / "report.html", console()
    make_report(ReportSource(study, small_data, str(tmp_path), Openings(0, 0), never), file, printed)
    assert "test set is still sealed" in file.read_text()
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
    assert f"Report: {file} (" in printed.file.getvalue()


def test_a_search_without_an_ensemble_says_that_another_command_opened_test(study, small_data):
    first = opening(gather_search(study, small_data, openings=2), None)
    assert "Its test set was opened 2 times by tune-ensemble" in first.summary
    assert "sealed" not in first.summary


def test_rungs_and_names_are_those_of_the_search(study, small_data):
    search = gather_search(study, small_data)
    assert search.rungs == (3,)  # an older version began it
    study.set_user_attr("first trials", [])
    assert gather_search(study, small_data).rungs == (2, 4)
    assert len(search.file_names) == 120
    assert search.file_names[0].endswith("few/000.png")


def test_rungs_of_a_cross_validated_search_are_folds(folded_data):
    study = made_up_study()
    identity = {"space": "x", "metric": "balanced_accuracy", "max-epochs": 20, "cv-folds": 3, "pruning": True}
    check_identity(study, identity)
    save_data_request(study, DataRequest(folded_data.place, seed=0, folds=3))
    study.set_user_attr("first trials", [])
    search = gather_search(study, folded_data)
    assert (search.rungs, search.unit) == (rungs(3), "fold")


def test_columns_of_the_groups_file_are_metadata_unless_they_identify_somebody(small_data, tmp_path):
    names = small_data.open_source().names
    groups = tmp_path / "groups.csv"
    rows = [f"{name},{index},{'AB'[index % 2]},N{index},200{index % 9}-01-01" for index, name in enumerate(names)]
    groups.write_text("\n".join(["image,group,site,Patient Name,seen", *rows]) + "\n")
    study = made_up_study()
    check_identity(study, {"space": "x", "metric": "balanced_accuracy", "max-epochs": 9, "pruning": True})
    save_data_request(study, DataRequest(small_data.place, seed=0, grouping=Grouping(file=str(groups))))
    search = gather_search(study, small_data)
    assert {name: list(values) for name, values in search.metadata.items()} == {"site": ["A", "B"] * 60}
    groups.unlink()
    assert gather_search(study, small_data).metadata == {}


def reported(study, data, folder, log_file):
    """Return the lines that ``report_at_end`` prints after its progress line."""
    printed, tracker = console(), SimpleNamespace(log_file=log_file)
    source = ReportSource(study, data, str(folder), Openings(0, 0), never)
    report_at_end(source, folder, tracker, printed)
    return printed.file.getvalue()


def test_the_report_of_a_search_is_logged(study, small_data, tmp_path):
    logged = []
    assert "could not" not in reported(study, small_data, tmp_path, logged.append)
    assert logged == [tmp_path / "report.html"]


def test_a_report_that_cannot_be_written_does_not_fail_the_search(study, small_data, tmp_path):
    printed = reported(study, small_data, tmp_path / "gone", lambda file: pytest.fail("there is nothing to log"))
    assert "the report could not be made or logged (" in printed
    assert printed.endswith(f"): make it with tune-report {study.study_name}\n")


def test_a_report_that_cannot_be_logged_does_not_fail_the_search(study, small_data, tmp_path):
    def fails(file):
        raise RuntimeError("no route")

    printed = reported(study, small_data, tmp_path, fails)
    line = f"the report could not be made or logged (no route): make it with tune-report {study.study_name}"
    assert line in printed.splitlines()
    assert (tmp_path / "report.html").exists()


def test_a_search_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(UserError, match="no search in .* is called 'nothing'"):
        remake(ReportOptions("nothing", storage=str(tmp_path)), console())


@pytest.mark.parametrize(
    ("out", "reason"),
    [
        (".", "but . is a folder: add the name of a file"),
        ("made", "but made is a folder"),
        ("no/x.html", "but no is not one"),
    ],
)
def test_a_folder_is_no_report_and_is_refused_before_anything_is_read_or_changed(tmp_path, monkeypatch, out, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "made").mkdir()
    with find_folder("results", "search", None, resume=False).open(Objective("accuracy"), 3, 0) as study:
        before = dict(study.user_attrs)
    options = ReportOptions("search", out=Path(out), study_texts={"purpose": "new"})
    with pytest.raises(UserError, match=f"--out must be a file in an existing folder, {reason}"):
        remake(options, console())
    _, study = existing_folder("results", "search", None)
    assert study.user_attrs == before
