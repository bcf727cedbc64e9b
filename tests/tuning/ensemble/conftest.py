import pytest

import tuning.ensemble.members
import tuning.study.opening_ledger
from tests.tuning.ensemble.made_up import made_up_data, made_up_study


@pytest.fixture
def data():
    return made_up_data()


@pytest.fixture
def elsewhere(monkeypatch):
    """All checkpoints are intact, and other searches have opened the test set twice."""
    monkeypatch.setattr(tuning.ensemble.members, "read_models", lambda place: place)
    monkeypatch.setattr(tuning.study.opening_ledger, "record_openings", lambda uri, run_id, fingerprint, count: 2)


@pytest.fixture
def study(elsewhere):
    return made_up_study()
