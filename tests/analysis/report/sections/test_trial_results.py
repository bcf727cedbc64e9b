import dataclasses

import optuna

from analysis.report.sections.trial_results import curves, leaderboard, origins
from tests.analysis.report.report_inputs import add_trial, made_up_search


def cells(table):
    """Return the rows of a table as dicts by heading."""
    return [dict(zip(table.headings, row, strict=True)) for row in table.rows]


def test_the_leaderboard_ranks_trials_by_the_objective_and_marks_members(search):
    table, params, errors = leaderboard(search, [2, 0]).blocks
    rows = cells(table)
    assert [float(row["best balanced_accuracy"]) for row in rows] == [0.8, 0.6, 0.5, 0.3]
    assert [float(row["macro F1"]) for row in rows] == [0.4, 0.3, 0.25, 0.15]
    assert [rows[position]["trial"] for position in table.bold] == ["trial 2, member", "trial 0, member"]
    assert [row["state"] for row in rows] == ["finished"] * 3 + ["stopped (rung)"]
    assert [row["origin"] for row in rows] == ["sampler", "sampler", "recipe", "sampler"]
    assert table.headings[-3:] == ("best epoch", "epochs", "s/epoch")
    assert table.headings[:2] == ("trial", "best balanced_accuracy")
    assert params.headings == ("parameter", *(row["trial"] for row in rows))
    of_recipe = {row[0]: row[3] for row in params.rows}
    assert of_recipe | {"best balanced_accuracy": "0.5000", "lr": "0.001", "head": "mlp"} == of_recipe
    assert errors.rows == [["4", "RuntimeError: <b>broken</b>"]]


def test_the_leaderboard_holds_twenty_trials_and_says_how_many_more_there_are(small_data):
    study = optuna.create_study(direction="maximize")
    for value in range(23):
        add_trial(study, value / 23)
    table, _ = leaderboard(made_up_search(small_data, study), []).blocks
    assert [row["trial"] for row in cells(table)] == [f"trial {number}" for number in range(22, 2, -1)]
    assert "Not shown: 3 more trials." in table.how_to_read


def test_the_best_known_configuration_is_compared_with_the_best_sampled_one(search):
    _, table = origins(search).blocks
    assert table.headings == ("parameter", "recipe: trial 0", "sampler: trial 1")
    assert table.rows[0] == ["best balanced_accuracy", "0.5000", "0.8000"]
    params = {trial.number: trial.params for trial in search.study.trials}
    assert [row[0] for row in table.rows[1:]] == list(params[0])
    different = {name for name in params[0] if params[0][name] != params[1][name]}
    assert {table.rows[position][0] for position in table.bold} == different != set()


def test_without_rungs_no_epoch_is_named(search):
    without = dataclasses.replace(search, rungs=())
    assert "not compared before their end" in curves(without, []).blocks[0].caveat
    assert "compared at epoch 1;" in curves(search, []).blocks[0].caveat


def test_a_cross_validated_search_counts_folds(search, folded_data):
    table = leaderboard(dataclasses.replace(search, data=folded_data), []).blocks[0]
    assert table.headings[-2:] == ("folds", "s/epoch")
    assert "epoch" not in " ".join((*table.headings[:-1], table.how_to_read))


def test_a_cross_validated_search_compares_trials_at_folds(search, folded_data):
    panel = curves(dataclasses.replace(search, data=folded_data, rungs=(1, 2)), []).blocks[0]
    assert "compared at folds 1, 2;" in panel.caveat
