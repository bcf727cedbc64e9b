from dataclasses import replace

import optuna
import pytest
from mlflow import MlflowClient

from trainables.core.errors import UserError
from tuning.ensemble.existing_search import check_data, search_run
from tuning.study.opening_ledger import split_fingerprint
from tuning.tracking.outbox import PARENT
from tuning.tracking.server import check_server


def identity_of(data):
    return {"data fingerprint": data.fingerprint} | {
        f"{split} fingerprint": split_fingerprint(data, split) for split in ("select", "test")
    }


def test_the_data_of_the_search_is_accepted(data):
    check_data(data, identity_of(data))


def test_other_data_or_another_split_is_refused(data):
    identity = identity_of(data)
    with pytest.raises(UserError, match="made up has changed"):
        check_data(replace(data, fingerprint="0" * 64), identity)
    smaller = {**data.splits, "test": data.splits["test"][1:]}
    with pytest.raises(UserError, match="test must hold the same images"):
        check_data(replace(data, splits=smaller), identity)


def test_a_search_without_a_run_is_refused(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    check_server(uri)
    with pytest.raises(UserError, match="continue it with tune-run --resume"):
        search_run(uri, optuna.create_study(), {})


def test_a_run_that_is_missing_or_deleted_is_refused(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client, study = MlflowClient(uri), optuna.create_study()
    run_id = client.create_run("0").info.run_id
    study.set_user_attr(PARENT, run_id)
    assert search_run(uri, study, {}) == (uri, run_id)
    client.delete_run(run_id)
    with pytest.raises(UserError, match=f"the search's run {run_id} must be in MLflow, but .* or it is deleted: give"):
        search_run(uri, study, {})
    check_server(f"sqlite:///{tmp_path}/empty.db")
    with pytest.raises(UserError, match=r"empty.db does not have it"):
        search_run(f"sqlite:///{tmp_path}/empty.db", study, {})
    with pytest.raises(
        UserError, match=r"MLflow's database must exist, but .*typo\.db does not: .* or pass --tracking-uri"
    ):
        search_run(f"sqlite:///{tmp_path}/typo.db", study, {})
    assert not list(tmp_path.glob("typo*"))
