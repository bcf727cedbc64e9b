"""The last steps of a search: their order, and the last line of one without a result."""

import io
from types import SimpleNamespace

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from rich.console import Console

from analysis.ensembles.result import Registration
from tests.tuning.ensemble.made_up import quiet
from tuning.ray_backend.resources import Resources
from tuning.search import finish
from tuning.study.attributes import is_finished


def test_the_model_is_registered_before_anything_is_printed(monkeypatch):
    """An output that fails, for whatever reason, must not lose the registration of a whole search."""
    study, published = optuna.create_study(), []

    def publish(*arguments):
        published.append(arguments[-2])
        return Registration("1", "champion", "no version was the champion before")

    def show(*arguments):
        raise UnicodeEncodeError("latin-1", "\u2265", 0, 1, "ordinal not in range(256)")

    monkeypatch.setattr(finish, "_find_ensemble", lambda search, console: "an ensemble")
    monkeypatch.setattr(finish, "publish", publish)
    monkeypatch.setattr(finish, "show", show)
    search = SimpleNamespace(
        steering=SimpleNamespace(study=study),
        workers=SimpleNamespace(resources=Resources(cpus=1, gpus=0)),
        plan=SimpleNamespace(space=SimpleNamespace(name="brains")),
        data=None,
        tracker=None,
    )
    with pytest.raises(UnicodeEncodeError):
        finish.finish(search, quiet())
    assert published == ["brains"]
    assert is_finished(study)


def test_a_closed_output_does_not_change_a_registered_search(monkeypatch):
    """Its parent run is FINISHED, and it has a report, although nobody read the last lines."""
    reported = []

    def show(*arguments):
        raise BrokenPipeError

    monkeypatch.setattr(finish, "_find_ensemble", lambda search, console: SimpleNamespace(openings=1))
    monkeypatch.setattr(finish, "publish", lambda *arguments: Registration("1", "champion", "there was none before"))
    monkeypatch.setattr(finish, "show", show)
    monkeypatch.setattr(finish, "report_at_end", lambda *arguments: reported.append(arguments))
    search = SimpleNamespace(
        steering=SimpleNamespace(study=optuna.create_study()),
        workers=SimpleNamespace(resources=Resources(cpus=1, gpus=0)),
        plan=SimpleNamespace(space=SimpleNamespace(name="brains")),
        options=SimpleNamespace(report=True),
        folder=SimpleNamespace(checkpoints="", local=None),
        data=None,
        tracker=None,
    )
    assert finish.finish(search, quiet())
    assert len(reported) == 1


LONGER, LINES = "Give a longer --time-budget with --resume.", "The lines above say why."


@pytest.mark.parametrize(
    ("states", "out_of_time", "why"),
    [
        ([], True, LONGER),
        (["FAIL", "RUNNING"], True, LONGER),  # cross-validated, and stopped between folds
        (["FAIL", "PRUNED"], True, LONGER),
        (["FAIL"], False, LINES),
        (["FAIL"], True, LINES),
        (["COMPLETE"], True, LINES),  # its checkpoint is damaged
    ],
)
def test_a_search_without_a_finished_trial_says_what_to_do(monkeypatch, states, out_of_time, why):
    monkeypatch.setattr(finish, "_find_ensemble", lambda search, console: None)
    console, study = Console(file=io.StringIO(), width=200), optuna.create_study()
    for state in states:
        study.add_trial(create_trial(state=TrialState[state], value=0.5 if state == "COMPLETE" else None))
    steering = SimpleNamespace(study=study, out_of_time=lambda: out_of_time)
    assert not finish.finish(SimpleNamespace(steering=steering), console)
    assert console.file.getvalue() == f"No trial finished, so there is no ensemble. {why}\n"
