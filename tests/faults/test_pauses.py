"""Drivers killed while trials are paused and while a paused one continues, then continued with --resume."""

import pytest

from analysis.trials import read_trials
from tests.images import write_classes
from tests.searches import SMALL, check_nothing_lost, killed_search, load, search

pytestmark = [pytest.mark.faults, pytest.mark.ray]

# The first trial is the best one, and the second one the second best: it pauses at epoch 2 of 8, continues when the
# fourth trial is there, and pauses again at epoch 4.
SPACE = """
from search_spaces.space import SearchSpace

RATES = [1e-2, 1e-3, 1e-6, 1e-7]

def suggest(trial, backbones):
    backbone = trial.suggest_categorical("backbone", list(backbones))
    return {"backbone": backbone, "head": "linear", "optimizer": "adamw", "batch_size": 16,
            "lr": trial.suggest_categorical("lr", RATES)}

SPACE = SearchSpace(name="pausing", title="pausing", suggest=suggest, backbones=("scratch_cnn",), data="data",
                    portfolio=[{"backbone": "scratch_cnn", "lr": rate} for rate in RATES],
                    weights="random", image_size=32, epochs=8, num_samples=4)
"""
TRIALS, EPOCHS = 4, 8
ARGUMENTS = ["pausing.py", *SMALL, "--max-epochs", EPOCHS, "--num-samples", TRIALS, "--max-concurrent", 1]
KILLS = [
    ("trial pauses, not ended in Ray", 1),
    ("epoch saved, not reported", EPOCHS + 3),  # the third trial's first epoch, while the second trial is paused
    ("paused trial may continue, not handed out", 1),
    ("epoch of a continued trial saved, not reported", 1),
    ("trial pauses, not ended in Ray", 4),  # the second trial's second pause
    ("trial ended, not finished in the study", 3),  # at the end, when one of three paused trials has been finished
]


def outcome(folder):
    """Return what the study has of each trial, apart from times and places."""
    return [
        (record.state, record.stopped, [epoch.metrics | {"epoch_seconds": 0.0} for epoch in record.epochs])
        for record in read_trials(load(folder, "pausing"))
    ]


def new_folder(folder, data):
    folder.mkdir()
    (folder / "data").symlink_to(data)
    (folder / "pausing.py").write_text(SPACE)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_classes(tmp_path_factory.mktemp("images") / "data", {"few": 24, "many": 80, "some": 40})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, data):
    """The outcome of the same search without a kill."""
    folder = new_folder(tmp_path_factory.mktemp("undisturbed") / "search", data)
    search(folder, *ARGUMENTS)
    return outcome(folder)


@pytest.mark.parametrize(("point", "nth"), KILLS)
def test_a_search_killed_during_a_pause_ends_as_an_undisturbed_one(tmp_path, data, undisturbed, point, nth):
    assert [len(epochs) for _, _, epochs in undisturbed] == [8, 4, 2, 2]
    folder = new_folder(tmp_path / "search", data)
    killed_search(folder, point, nth, *ARGUMENTS)
    assert any(state == "RUNNING" and epochs for state, _, epochs in outcome(folder))
    search(folder, *ARGUMENTS, "--resume")
    assert outcome(folder) == undisturbed
    check_nothing_lost(load(folder, "pausing"), f"sqlite:///{folder}/mlflow.db", "pausing", TRIALS, EPOCHS)
