"""Building the ensemble of a search again, on a real study and a real SQLite store."""

import pytest
import torch

from tests.tuning.ensemble.made_up import quiet
from tests.tuning.real_search import NAME, RealSearch
from trainables.core.errors import UserError
from tuning.ensemble.rebuild import RebuildOptions, rebuild
from tuning.study.data_request import DataRequest
from tuning.study.opening_ledger import openings_here, split_fingerprint
from tuning.tracking.server import check_server


@pytest.fixture
def search(small_data, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("TUNE_RUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    request = DataRequest(small_data.place, seed=0)
    search = RealSearch(tmp_path, request, request.prepare(sizes=[32]))
    search.add_trial(0.6)
    with search.tracker():
        pass
    return search


@pytest.mark.parametrize("exists", [False, True])
def test_the_test_set_stays_sealed_if_the_run_is_not_in_mlflow(search, exists):
    other = search.folder / "other.db"
    if exists:
        check_server(f"sqlite:///{other}")
    wanted = {"storage": str(search.folder), "tracking_uri": f"sqlite:///{other}"}
    with pytest.raises(UserError, match="the search's run .* must be in MLflow" if exists else "database must exist"):
        rebuild(RebuildOptions(NAME, open_test=True, register=True, **wanted), quiet())
    assert openings_here(search.study, split_fingerprint(search.data, "test")) == 0
    assert other.exists() == exists
