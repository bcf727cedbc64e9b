"""A cross-validated search by the command itself: killed, resumed, and its ensemble built again."""

import signal
import time

import numpy as np
import pytest

from tests.e2e.test_search import predict_elsewhere
from tests.searches import SMALL, check_nothing_lost, load, search, start_search
from trainables.core.data.prepare import prepare

pytestmark = [pytest.mark.e2e, pytest.mark.ray]


@pytest.mark.faults
def test_a_cross_validated_search_goes_on_after_a_kill_and_ends_with_a_model_of_all_folds(folder):
    arguments = ["demo_space", "--data", "data", *SMALL, "--num-samples", 2, "--no-pruning", "--cv-folds", 2]
    driver = start_search(folder, *arguments, reports=1, unit="fold")
    driver.send_signal(signal.SIGKILL)
    driver.communicate(timeout=120)
    time.sleep(5)  # Ray's processes end when they find their driver gone

    output = search(folder, *arguments, "--resume")
    assert "122 pool, 22 test (grouped split); 2 folds of 61 images" in output
    assert "small data set" not in output
    assert "balanced_accuracy on out-of-fold predictions of 2 folds: 122 images" in output
    assert "The search chose among 2 trials on these same images: the best has balanced_accuracy" in output
    assert "(BBC-CV)" in output
    uri = f"sqlite:///{folder}/mlflow.db"
    parent = check_nothing_lost(load(folder, "demo_space"), uri, "demo_space", 2, epochs=2)
    assert {"oof_balanced_accuracy", "best_balanced_accuracy_corrected", "test_accuracy"} <= parent.data.metrics.keys()
    assert not any(name.startswith("select_") for name in parent.data.metrics)
    assert parent.data.params["cv-folds"] == "2"

    # What was registered scores on test what the search said, in a process without this repository.
    data = prepare(str(folder / "data"), sizes=[32], seed=0, folds=2, store=folder / "store")
    files = sorted((folder / "data").rglob("*.png"))
    names, probabilities = predict_elsewhere(folder, "demo_space", [file.read_bytes() for file in files])
    assert [names[label] for label in data.labels] == [file.parent.name for file in files]
    hits = (probabilities.argmax(axis=1) == data.labels)[data.splits["test"]]
    assert np.mean(hits) == pytest.approx(parent.data.metrics["test_accuracy"], abs=1e-9)

    refused = search(folder, "demo_space", "--soup", module="tuning.cli.ensemble", code=2)
    assert "those of demo_space have one per fold: leave --soup out, or search without --cv-folds" in refused
    rebuilt = search(folder, "demo_space", "--rule", "mean", module="tuning.cli.ensemble")
    assert "Chosen: mean, balanced_accuracy" in rebuilt
    assert "(BBC-CV)" in rebuilt
    assert "opened" not in rebuilt
