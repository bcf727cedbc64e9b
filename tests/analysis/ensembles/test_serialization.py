import json
import math
from dataclasses import replace

import numpy as np
import pytest

from analysis.ensembles.compare_rules import Comparison, compare
from analysis.ensembles.evaluation import Evaluation
from analysis.ensembles.result import ChosenEnsemble
from analysis.ensembles.serialization import from_json, to_json
from analysis.ensembles.tasks.classification import ClassificationResults
from analysis.statistics.diversity import Diversity, diversity
from analysis.statistics.selection_bias import SelectionBias
from analysis.trials import TrialRecord
from tests.analysis.samples import drawn
from trainables.core.serving.combining.combine import Combination

TRIALS = {number: TrialRecord(number, "COMPLETE", {}, {}, (), None, ()) for number in (3, 7)}


def again(value, **trials):
    return from_json(json.loads(json.dumps(to_json(value))), type(value), **trials)


@pytest.fixture(scope="module")
def chosen():
    probabilities, sample = drawn(count=2, images=200)
    return ChosenEnsemble(
        members=tuple(TRIALS.values()),
        member_scores=(0.25, math.nan),
        comparison=compare(probabilities, sample, "stacking"),
        diversity=diversity(probabilities, sample.labels),
        views="none",
        images=200,
        groups=200,
        folds=3,
        selection_bias=SelectionBias(9, 0.5, None, 2, 0.75, 0.7),
    )


def test_an_ensemble_is_restored_to_the_last_digit(chosen):
    restored = again(chosen, trials=TRIALS)
    assert restored.member_scores[0] == 0.25
    assert math.isnan(restored.member_scores[1])
    assert replace(restored, member_scores=chosen.member_scores) == chosen
    assert restored.comparison.combination.coefficients == chosen.comparison.combination.coefficients


def test_keys_are_those_of_searches_that_already_ran(chosen):
    plain = to_json(chosen)
    keys = {"members", "alone", "comparison", "diversity", "views", "images", "groups", "folds", "tuned"}
    assert plain.keys() == keys | {"decisions"}  # which those of earlier searches lack
    assert plain["members"] == [3, 7]
    assert plain["comparison"].keys() == {
        "metric", "rules", "chosen", "corrected", "figures", "combination", "notes", "reference", "patients",
        "points",  # which those of earlier searches lack
    }  # fmt: skip
    assert plain["diversity"].keys() == {
        "disagreement", "error_correlation", "mean_disagreement", "mean_error_correlation",
    }  # fmt: skip
    older = {name: value for name, value in plain.items() if name not in ("folds", "tuned")}
    older["comparison"] = {name: value for name, value in plain["comparison"].items() if name != "reference"}
    restored = from_json(older, ChosenEnsemble, TRIALS)
    assert (restored.folds, restored.selection_bias, restored.comparison.reference) == (0, None, None)


@pytest.mark.parametrize("groups", [None, 5])
def test_an_evaluation_is_restored(groups):
    probabilities, sample = drawn(count=2, groups=groups)
    scored = ClassificationResults.evaluate(probabilities, Combination.of(np.ones(2)), sample, 0)
    assert again(scored) == scored
    json.dumps(to_json(scored), allow_nan=False)
    older = to_json(scored)
    del older["ensemble"]["per_image"]
    assert from_json(older, Evaluation) == scored


def test_a_comparison_and_a_diversity_are_restored():
    probabilities, sample = drawn(count=2)
    probabilities[0] = np.eye(3)[sample.labels]
    pairwise = diversity(probabilities, sample.labels)
    assert again(pairwise) == pairwise
    assert type(again(pairwise)) is Diversity
    assert pairwise.error_correlation[0] == (None, None)
    compared = compare(probabilities, sample)
    assert again(compared) == compared
    assert type(again(compared)) is Comparison
