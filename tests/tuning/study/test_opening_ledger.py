from dataclasses import replace

import numpy as np
import optuna

import tuning.study.opening_ledger
from analysis.ensembles.result import Openings
from tests.tuning.ensemble.made_up import made_up_data
from tuning.study.opening_ledger import count_opening, openings, split_fingerprint


def test_openings_are_counted_by_fingerprint_even_if_mlflow_does_not_answer(monkeypatch):
    def away(*arguments):
        raise ConnectionError("no route")

    monkeypatch.setattr(tuning.study.opening_ledger, "record_openings", away)
    study = optuna.create_study()
    for fingerprint in ("one", "one", "other"):
        count_opening(study, fingerprint)
    assert openings(study, "one", "uri", "run") == Openings(2, None)


def test_openings_in_words():
    assert Openings(2, None).describe() == "opened 2 times by this search (MLflow did not answer for other searches)"
    assert Openings(1, 0).describe() == "opened once"
    assert Openings(1, 2).describe() == "opened 3 times, 2 of them by other searches"


def test_fingerprints_differ_between_splits_data_and_folds():
    data = made_up_data()
    moved = replace(data, splits={**data.splits, "test": data.splits["test"][1:]})
    prints = {split_fingerprint(each, split) for each in (data, moved) for split in ("select", "test")}
    assert len(prints) == 3
    assert split_fingerprint(replace(data, fingerprint="0" * 64), "test") not in prints
    parted = [replace(data, splits={"pool": np.arange(8)}, folds=(np.arange(cut), np.arange(cut, 8))) for cut in (3, 4)]
    assert len({split_fingerprint(each, "pool") for each in parted}) == 2
