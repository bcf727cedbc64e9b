"""The last steps of a search: their order, and the last line of one without a result."""

import io
from types import SimpleNamespace

import optuna
import pytest
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


@pytest.mark.parametrize(
    ("ended", "why"), [(0, "Give a longer --time-budget with --resume."), (2, "The lines above say why.")]
)
def test_a_search_without_a_finished_trial_says_what_to_do(monkeypatch, ended, why):
    monkeypatch.setattr(finish, "_find_ensemble", lambda search, console: None)
    console = Console(file=io.StringIO(), width=200)
    steering = SimpleNamespace(study=optuna.create_study(), ended=lambda: ended)
    assert not finish.finish(SimpleNamespace(steering=steering), console)
    assert console.file.getvalue() == f"No trial finished, so there is no ensemble. {why}\n"
