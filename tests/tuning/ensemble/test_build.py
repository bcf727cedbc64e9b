import io
import json
from dataclasses import dataclass, replace

import numpy as np
import optuna
import pytest
from rich.console import Console

import tuning.ensemble.build
import tuning.study.opening_ledger
from analysis.registry import Registered
from analysis.trials import CONFIG, read_trials
from trainables.core.data.dataset import Dataset
from trainables.core.data.decode.images import PixelFormat
from trainables.core.errors import CheckpointError, UserError
from trainables.core.training.cross_validation import OutOfFold
from tuning.ensemble.build import Built, Request, build, choose_members, find_ensemble, note_registered, sample_of
from tuning.ensemble.console_tables import show
from tuning.ensemble.publish import _figures, told
from tuning.study.opening_ledger import Openings, count_opening, openings, split_fingerprint

METRIC = "balanced_accuracy"


@dataclass
class Tracker:
    uri: str = "sqlite:///nowhere.db"
    parent_id: str = "run"


class Inference:
    """Predictions by checkpoint and split; remembers what it was asked for."""

    def __init__(self, data):
        self.data, self.asked = data, []

    def __call__(self, checkpoints, split):
        self.asked.append(split)
        labels = self.data.labels[self.data.splits[split]]
        generators = [np.random.default_rng([ord(place[-1]), len(split)]) for place in checkpoints]
        odds = np.stack([np.exp(each.normal(size=(len(labels), 2)) + np.eye(2)[labels]) for each in generators])
        return (odds / odds.sum(axis=2, keepdims=True)).astype(np.float32)


@pytest.fixture
def data():
    labels = np.random.default_rng(0).integers(0, 2, 200)
    splits = {"fit": range(80), "tune": range(80, 100), "select": range(100, 150), "test": range(150, 200)}
    return Dataset(
        place="made up",
        fingerprint="f" * 64,
        class_names=("a", "b"),
        labels=labels,
        groups=np.arange(200) // 2,
        splits={name: np.array(indices) for name, indices in splits.items()},
        pixel_format=PixelFormat(1, 255),
    )


@pytest.fixture
def study(monkeypatch):
    """Four trials that ran in full, and one that was stopped early; elsewhere, the test set was opened twice."""
    monkeypatch.setattr(tuning.ensemble.build, "read_models", lambda place: place)
    monkeypatch.setattr(tuning.study.opening_ledger, "note_openings", lambda uri, run_id, fingerprint, count: 2)
    study = optuna.create_study()
    for number, value in enumerate([0.6, 0.9, 0.7, 0.8, 0.95]):
        trial = study.ask()
        trial.set_user_attr(CONFIG, {"backbone": "scratch_cnn", "image_size": 32})
        metrics = {"best_epoch": 1, f"best_{METRIC}": value}
        epoch = {"epoch": 1, "metrics": metrics, "time_ms": 1, "checkpoint": f"checkpoint-{number}"}
        trial.set_user_attr("epoch:00001", epoch)
        if number == 4:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, value)
    return study


def found(study, data, infer, **changes):
    return find_ensemble(study, data, Request(METRIC, **changes), infer, Tracker(), quiet())


def quiet():
    return Console(file=io.StringIO(), width=100)


def test_the_test_set_is_opened_once_for_an_ensemble_and_the_study_remembers(study, data):
    infer = Inference(data)
    first = found(study, data, infer)
    assert infer.asked == ["select", "test"]
    assert [record.number for record in first.built.members] == [1, 3, 2, 0]
    assert found(study, data, infer) == first
    assert infer.asked == ["select", "test"]
    assert first.openings == Openings(here=1, elsewhere=2)
    assert first.openings.describe() == "opened 3 times, 2 of them by other searches"


def test_an_ensemble_of_cross_validated_trials_is_chosen_out_of_fold(study, data, monkeypatch):
    """Of a trial that was stopped after a part of its folds there are no predictions of the other images."""
    folds = tuple(np.arange(start, 150, 2) for start in range(2))
    folded = replace(data, splits={"pool": np.arange(150), "test": data.splits["test"]}, folds=folds)
    infer = Inference(folded)
    stored = []

    def read(place):
        stored.append(place)
        return OutOfFold(np.concatenate(folds), infer([place], "pool")[0][np.concatenate(folds)])

    monkeypatch.setattr(tuning.ensemble.build, "read_out_of_fold", read)
    monkeypatch.setattr(Request, "allows", lambda request, record: request.folds == 2 and record.number != 3)
    result = found(study, folded, infer, folds=2)
    assert stored == ["checkpoint-1", "checkpoint-2", "checkpoint-0"]
    assert [record.number for record in result.built.members] == [1, 2, 0]
    assert (result.built.images, result.built.folds, result.built.prefix) == (150, 2, "oof")
    assert result.built.tuned.trials == 3
    assert result.built.tuned.score == result.built.alone[0]
    assert result.built.tuned.corrected < result.built.tuned.score
    assert found(study, folded, infer, folds=2) == result  # from the study
    figures = _figures(result)
    assert figures[f"best_{METRIC}_corrected"] == result.built.tuned.corrected
    assert figures[f"oof_{METRIC}_corrected"] == result.built.tuned.together_corrected
    assert f"oof_{METRIC}" in figures
    assert not any(name.startswith("select_") for name in figures)
    console = quiet()
    show(result, folded, console)
    shown = console.file.getvalue()
    assert f"{METRIC} on out-of-fold predictions of 2 folds: 150 images" in shown
    assert "Tuning chose among 3 trials on these very images: the best has" in shown
    assert "select" not in shown


def test_a_trial_with_a_part_of_its_folds_is_no_member(study):
    (record,) = (record for record in read_trials(study) if record.number == 0)
    assert Request(METRIC, folds=1).allows(record)
    assert not Request(METRIC, folds=2).allows(record)
    assert choose_members(study, Request(METRIC, folds=2), quiet()) == []
    with pytest.raises(UserError, match="which are none, but got 1"):
        choose_members(study, Request(METRIC, members=(1,), folds=2), quiet())


def test_other_members_or_views_open_it_again(study, data):
    infer = Inference(data)
    for changes in ({"k": 3}, {"k": 2}, {"k": 2, "views": "flips"}):
        last = found(study, data, infer, **changes)
    assert infer.asked.count("test") == last.openings.here == 3


def test_an_opening_is_counted_before_it_happens(study, data):
    class Broken(Inference):
        def __call__(self, checkpoints, split):
            if split == "test":
                raise RuntimeError("a node died")
            return super().__call__(checkpoints, split)

    with pytest.raises(RuntimeError, match="a node died"):
        found(study, data, Broken(data))
    assert found(study, data, Inference(data)).openings.here == 2


def test_the_registered_version_is_remembered(study, data):
    found(study, data, Inference(data))
    registered = Registered("3", "challenger", "it has only balanced_accuracy 0.5")
    note_registered(study, registered)
    assert found(study, data, Inference(data)).registered == registered
    assert told(registered, "space").endswith("models:/space@challenger (version 3): it has only balanced_accuracy 0.5")


def test_without_a_finished_trial_there_is_none(data):
    assert found(optuna.create_study(), data, Inference(data)) is None


def test_a_torn_checkpoint_is_left_out(study, monkeypatch):
    def read(place):
        if place == "checkpoint-3":
            raise CheckpointError("torn")

    monkeypatch.setattr(tuning.ensemble.build, "read_models", read)
    console = quiet()
    assert [record.number for record in choose_members(study, Request(METRIC, k=2), console)] == [1, 2]
    assert "trial 3 is left out of the ensemble: torn" in console.file.getvalue()
    with pytest.raises(UserError, match="whole checkpoints"):
        choose_members(study, Request(METRIC, members=(3, 0)), console)


def test_members_that_were_asked_for_are_taken_best_first(study):
    chosen = choose_members(study, Request(METRIC, members=(0, 4, 1, 0)), quiet())
    assert [record.number for record in chosen] == [4, 1, 0]
    with pytest.raises(UserError, match="which are 0, 1, 2, 3, 4, but got 9"):
        choose_members(study, Request(METRIC, members=(0, 9)), quiet())


def test_an_ensemble_survives_its_way_through_json(study, data):
    members = choose_members(study, Request(METRIC), quiet())
    built = build(members, data, Request(METRIC, rule="greedy"), Inference(data))
    assert built.comparison.chosen == "greedy"
    assert Built.from_dict(json.loads(json.dumps(built.to_dict())), members) == built
    sample, given = sample_of(data, "select", METRIC), Inference(data)(["checkpoint-1"], "select")
    assert built.alone[0] == sample.score(given[0])


def test_tables_fit_into_100_columns_and_tell_what_matters(study, data):
    console = quiet()
    show(found(study, data, Inference(data)), data, console)
    shown = console.file.getvalue()
    table = [line for line in shown.splitlines() if not line.startswith("Note") and not line.startswith("Chosen")]
    assert max(map(len, table)) <= 100
    for told_there in (
        "Test set: 50 images in 25 groups, opened 3 times, 2 of them by other searches",
        "balanced_accuracy on select: 50 images in 25 groups",
        "95% interval",
        "errors correlate by",
        "scratch_cnn",
    ):
        assert told_there in shown


def test_openings_are_counted_by_fingerprint_and_told_though_mlflow_is_away(study, data, monkeypatch):
    def away(*arguments):
        raise ConnectionError("no route")

    monkeypatch.setattr(tuning.study.opening_ledger, "note_openings", away)
    for fingerprint in ("one", "one", "other"):
        count_opening(study, fingerprint)
    opened = openings(study, "one", "uri", "run")
    assert opened == Openings(2, None)
    assert opened.describe() == "opened 2 times by this search (MLflow did not answer for other searches)"
    assert Openings(1, 0).describe() == "opened once"


def test_fingerprints_tell_splits_and_data_apart(data):
    moved = replace(data, splits={**data.splits, "test": data.splits["test"][1:]})
    seen = {split_fingerprint(given, split) for given in (data, moved) for split in ("select", "test")}
    assert len(seen) == 3
    assert split_fingerprint(replace(data, fingerprint="0" * 64), "test") not in seen
    parted = [replace(data, splits={"pool": np.arange(8)}, folds=(np.arange(cut), np.arange(cut, 8))) for cut in (3, 4)]
    assert len({split_fingerprint(given, "pool") for given in parted}) == 2
