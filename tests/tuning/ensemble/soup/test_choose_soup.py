"""A soup of real, tiny networks on real predictions."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from analysis.ensembles.result import ChosenEnsemble
from analysis.ensembles.soups import GREEDY_SOUP
from analysis.ensembles.tasks.choose import task_results
from analysis.trials import EpochRecord, TrialRecord
from tests.trainables.worker.test_inference import save_members
from tests.tuning.ensemble.made_up import quiet
from trainables.core.config import TrainConfig
from trainables.core.errors import UserError
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.models.soup import average, with_batch_norm_of
from trainables.core.serving.predict_classes import predict_probabilities, trained_classifier
from trainables.core.training.fit import fit
from trainables.worker.checkpoint_io import read_models
from trainables.worker.inference import infer_here
from tuning.ensemble.build import choose_ensemble
from tuning.ensemble.members import EnsembleRequest
from tuning.ensemble.soup.choose_soup import SoupRequest, choose_soup
from tuning.ensemble.soup.soups import Soups
from tuning.ensemble.soup.tables import _comparison, show_soup, show_soup_on_test

METRIC, CPU = "log_loss", torch.device("cpu")


@pytest.fixture(scope="module")
def trials(small_data, tmp_path_factory):
    """Four trainings of one network from the same weights, as trials with checkpoints."""
    base = {"backbone": "mobilenetv3_small_050", "weights": "random", "head": "linear", "optimizer": "adamw"}
    base |= {"image_size": 32, "batch_size": 16, "epochs": 3, "device": "cpu"}
    configs = [TrainConfig.from_dict(base | {"lr": lr}) for lr in (3e-3, 1e-3, 2e-3, 3e-2)]
    states = [list(fit(each, small_data))[-1].state for each in configs]
    names, pixels = small_data.class_names, small_data.pixel_format
    checkpoints = [Checkpoint(state, each, names, pixels, {}) for state, each in zip(states, configs, strict=True)]
    places = save_members(tmp_path_factory.mktemp("search"), checkpoints)
    return [
        TrialRecord(number, "COMPLETE", {}, each.to_dict(), (_report(place),), None, ())
        for number, (each, place) in enumerate(zip(configs, places, strict=True))
    ]


def _report(place):
    return EpochRecord(3, {"best_epoch": 3, f"best_{METRIC}": 0.5}, 1, place)


@pytest.fixture(scope="module", autouse=True)
def no_gpu():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        yield


@pytest.fixture(scope="module")
def infer(small_data):
    return lambda checkpoints, split: infer_here(small_data, checkpoints, split)


@pytest.fixture(scope="module")
def wanted(trials, small_data, infer, tmp_path_factory):
    return SoupRequest(trials, small_data, EnsembleRequest(METRIC), infer, str(tmp_path_factory.mktemp("soup")))


@pytest.fixture(scope="module")
def soup(wanted, small_data, infer):
    ensemble = choose_ensemble(wanted.trials, small_data, wanted.request, infer)
    return choose_soup(wanted, ensemble)


def by_hand(trials, ingredients, data, rows):
    checkpoints = [read_models(trials[position].best.checkpoint)[0] for position in ingredients]
    network = checkpoints[0]
    if len(ingredients) > 1:
        network = with_batch_norm_of(average(checkpoints), data.images(32), data.splits["fit"], CPU)
    return predict_probabilities(trained_classifier(network, CPU), data.images(32), rows)


def test_the_predictions_of_a_soup_are_those_of_its_average(trials, small_data, infer):
    soups = Soups([record.best.checkpoint for record in trials], small_data, infer)
    for ingredients in ((1,), (0, 2), (0, 1, 2)):
        expected = by_hand(trials, ingredients, small_data, small_data.splits["select"])
        np.testing.assert_array_equal(soups.predict(ingredients), expected)


def test_the_soup_is_what_brute_force_finds(trials, soup, small_data):
    """Recipe 1 of Wortsman et al. 2022; every average of these trials is made."""
    rows = small_data.splits["select"]
    sample = task_results(small_data).sample("select", METRIC)
    every = [chosen for size in range(1, 5) for chosen in itertools.combinations(range(4), size)]
    scores = {chosen: sample.score(by_hand(trials, chosen, small_data, rows)) for chosen in every}
    order = sorted(range(4), key=lambda one: scores[(one,)])  # log loss: lower is better
    expected = (order[0],)
    for one in order[1:]:
        larger = tuple(sorted((*expected, one)))
        expected = larger if scores[larger] <= scores[expected] else expected
    assert soup.soup.ingredients == expected
    assert len(expected) > 1
    assert soup.soup.score == scores[expected]
    member = soup.average.chosen.members[0]
    assert (member.soup, member.name) == (expected, f"soup of trials {', '.join(map(str, expected))}")
    assert soup.single.chosen.members == (trials[order[0]],)


def test_it_is_an_ensemble_of_one_network_with_a_score_that_is_not_optimistic(soup, small_data, infer):
    chosen = soup.average.chosen
    assert isinstance(chosen, ChosenEnsemble)
    assert (chosen.comparison.chosen, chosen.comparison.combination.weights) == (GREEDY_SOUP, (1.0,))
    sample = task_results(small_data).sample("select", METRIC)
    assert chosen.comparison.score == pytest.approx(sample.score(soup.average.held_out))
    (predicted,) = infer(chosen.checkpoints, "tune")
    on_tune = task_results(small_data).sample("tune", METRIC).score(predicted)
    assert chosen.members[0].epochs[-1].metrics[f"best_{METRIC}"] == on_tune
    assert f"is {soup.soup.score:.4f}, which is optimistic" in chosen.comparison.notes[-1]


def test_tables_compare_it_with_the_best_network_and_the_ensemble(soup, small_data, infer):
    console = quiet()
    show_soup(soup, small_data, console)
    show_soup_on_test(soup, small_data, infer, console)
    printed = console.file.getvalue()
    assert printed.count("not added") == len(soup.soup.steps) - len(soup.soup.ingredients)
    for split in ("select", "test"):
        assert f"{METRIC} on {split}" in printed
    assert printed.count(f"best network (trial {soup.single.chosen.members[0].number})") == 2
    assert "times as long" in printed
    assert "conditional on" not in printed and "]*" not in printed  # log loss is no average over classes


def test_averages_of_few_groups_of_a_class_are_marked(soup, small_data):
    chosen = soup.average.chosen
    comparison = dataclasses.replace(chosen.comparison, metric="balanced_accuracy")
    average = dataclasses.replace(soup.average, chosen=dataclasses.replace(chosen, comparison=comparison))
    console = quiet()
    console.print(_comparison([(average, soup.average.held_out)], small_data, "select"))
    printed = " ".join(console.file.getvalue().split())
    few = ", ".join(f"of {name}" for name in small_data.class_names)
    assert f"* conditional on the few groups {few} (fewer than 10)" in printed and "]*" in printed


def test_too_few_groups_are_refused(wanted, small_data, trials, infer):
    few = dataclasses.replace(small_data, groups=np.arange(len(small_data.labels)) % 4)
    ensemble = choose_ensemble(trials[:2], few, wanted.request, infer)
    with pytest.raises(
        UserError, match=r"^a soup is chosen on select, which must have 10 groups .* has 4: leave --soup out$"
    ):
        choose_soup(dataclasses.replace(wanted, data=few), ensemble)
