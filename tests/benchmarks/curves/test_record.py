"""Recording against scikit-learn on the checkpoint of the best epoch, and the file of lines after a kill."""

import gzip
import json

import numpy as np
import pytest
import torch
import typer
from sklearn.metrics import balanced_accuracy_score

from benchmarks.curves.configurations import config_of, draw_params, recipes
from benchmarks.curves.data_sets import Scale, cut_splits
from benchmarks.curves.record import SETTING, append_line, read_lines, remove_torn_line, start
from benchmarks.curves.record_trial import record_trial
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.serving.predict_classes import predict_probabilities, trained_classifier
from trainables.core.training.fit import fit


def best_checkpoint(config, data):
    """Return the best epoch and the tensors after it, in a second run of the same training."""
    best = None
    for result in fit(config, data):
        score = result.metrics["tune/balanced_accuracy"]
        if best is None or score > best[0]:
            state = result.state
            kept = type(state)(state.epoch, {name: one.clone() for name, one in state.tensors.items()}, state.scaler)
            best = score, result.epoch, kept
    return best


def test_a_trial_has_every_epoch_and_the_scores_of_its_best_checkpoint(small_data, config):
    trained = config(epochs=4, seed=3)
    record = record_trial(trained, small_data)
    score, epoch, state = best_checkpoint(trained, small_data)
    assert [one["epoch"] for one in record["epochs"]] == [1, 2, 3, 4]
    assert all(one["seconds"] > 0 for one in record["epochs"])
    assert record["failed"] is None
    last = record["improvements"][-1]
    assert last["epoch"] == epoch
    assert max(one["metrics"]["tune/balanced_accuracy"] for one in record["epochs"]) == round(score, 5)
    model = trained_classifier(
        Checkpoint(state, trained, small_data.class_names, small_data.pixel_format, {}), torch.device("cpu")
    )
    for split in ("select", "test"):
        indices = small_data.splits[split]
        predicted = predict_probabilities(model, small_data.images(trained.image_size), indices).argmax(axis=1)
        assert last[split]["balanced_accuracy"] == round(
            balanced_accuracy_score(small_data.labels[indices], predicted), 5
        )


def test_a_trial_that_diverges_says_so(small_data, config):
    record = record_trial(config(optimizer="sgd", lr=10.0, head="mlp", momentum=0.99), small_data)
    assert "loss became" in record["failed"]
    assert record["failed_seconds"] > 0


def test_only_the_first_trial_computes_the_outputs_of_frozen_stages(small_data, config):
    frozen = config(backbone="mobilenetv3_small_050", freeze_depth=4)
    first, second = (record_trial(frozen, small_data)["cache_seconds"] for _ in range(2))
    assert second < first / 2


def test_a_killed_writer_costs_one_line(tmp_path):
    file = tmp_path / "trials.jsonl"
    append_line(file, {"number": 1})
    with file.open("a") as torn:
        torn.write('{"number": 2, "epo')
    remove_torn_line(file)
    append_line(file, {"number": 3})
    assert list(read_lines(file)) == [{"number": 1}, {"number": 3}]


def test_the_configurations_are_the_recipes_and_a_sample_that_grows():
    drawn = draw_params(60)
    assert drawn[:20] == draw_params(20)
    other = draw_params(60, Scale.LARGE)
    assert [one for one in other if one in drawn] == list(recipes().values())
    assert all(recipe in drawn for recipe in recipes().values())
    assert len({json.dumps(params, sort_keys=True) for params in drawn}) == 60
    assert all(config_of(params)["batch_size"] == params["batch_size"] for params in drawn)


def test_a_cut_split_is_stratified_and_keeps_rare_classes(small_data):
    split = small_data.splits["fit"]
    cut = cut_splits(small_data, {"fit": 40, "tune": 10**6, "select": 10**6, "test": 10**6})
    assert set(cut.splits["fit"]) <= set(split)
    assert np.array_equal(cut.splits["tune"], small_data.splits["tune"])
    counts, kept = (np.bincount(small_data.labels[indices]) for indices in (split, cut.splits["fit"]))
    assert kept.min() >= 4  # a tenth
    assert 38 <= kept.sum() <= 40
    assert np.all(np.argsort(counts) == np.argsort(kept))


def table_of(folder, setting, trials):
    """Write a packed table and its setting, and return the table's file."""
    (folder / SETTING).write_text(json.dumps(setting))
    table = folder / "trials.jsonl.gz"
    table.write_bytes(gzip.compress("".join(f"{json.dumps(trial)}\n" for trial in trials).encode()))
    return table


def test_a_new_folder_continues_the_table_of_the_same_setting_only(tmp_path):
    table = table_of(tmp_path, {"machine": {"cpu": "A"}}, [{"configuration": 3}])
    for cpu, expected in {"A": [{"configuration": 3}], "B": []}.items():
        output = tmp_path / cpu
        output.mkdir()
        file = start(output, {"machine": {"cpu": cpu}}, table)
        assert list(read_lines(file)) == expected
        assert json.loads((output / SETTING).read_text()) == {"machine": {"cpu": cpu}}


def test_a_folder_of_other_splits_is_refused_and_left_alone(tmp_path):
    now = {"epochs": 9, "splits": {"tb": {"fit": "00"}}}
    append_line(start(tmp_path, now, tmp_path / "no table"), {"configuration": 0})
    with pytest.raises(typer.BadParameter, match=r"has another splits: give a new --output"):
        start(tmp_path, now | {"splits": {"tb": {"fit": "11"}}}, tmp_path / "no table")
    assert json.loads((tmp_path / SETTING).read_text()) == now
    assert list(read_lines(start(tmp_path, now, tmp_path / "no table"))) == [{"configuration": 0}]
