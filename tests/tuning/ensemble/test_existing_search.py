from dataclasses import replace

import optuna
import pytest

from trainables.core.errors import UserError
from tuning.ensemble.existing_search import check_data, search_run
from tuning.study.opening_ledger import split_fingerprint


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
    with pytest.raises(UserError, match="continue it with tune-run --resume"):
        search_run(uri, optuna.create_study(), {})
