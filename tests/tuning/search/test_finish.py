"""The order of the last steps of a search."""

from types import SimpleNamespace

import optuna
import pytest

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
        return Registration("1", "champion", "there was none before")

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
