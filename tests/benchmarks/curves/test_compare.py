"""The figures of a comparison against examples worked out by hand, and its file of runs."""

import json

import numpy as np
import pytest
import typer

from benchmarks.curves import compare, summary
from benchmarks.curves.compare import BASE, OURS, SHARES, SLOW, TIMES, all_methods, choose_methods
from benchmarks.curves.data_sets import Scale
from benchmarks.curves.summary import NEVER, best_peers, compare_methods, reach_best_peer, reach_time, scores_at
from benchmarks.curves.table import Curve, RecordedCurves


def test_a_search_has_the_lowest_scores_until_its_first_result():
    result = [[0.2, 0.5, 0.6, 0.7], [0.4, 0.8, 0.3, 0.4]]
    scores = scores_at(result, np.array([0.0, 0.2, 0.39, 0.4, 1.0]), np.array([0.1, 0.2]))
    assert scores.tolist() == [[0.1, 0.2], [0.6, 0.7], [0.6, 0.7], [0.3, 0.4], [0.3, 0.4]]
    assert scores_at([], np.array([1.0]), np.array([0.1, 0.2])).tolist() == [[0.1, 0.2]]


def test_differences_are_paired_by_seed():
    # Seeds differ by far more than the methods do: only paired differences are the same for all seeds.
    base = np.array([[0.9, 0.9], [0.5, 0.5], [0.1, 0.1]])
    regret = np.stack([base - 0.2, base, base + np.array([0.1, -0.3])])
    ours, reference, peer = compare_methods(regret, base=1, peers=[1, 2])
    assert best_peers(regret, [1, 2]) == [1, 2]
    for one in ours["less_than_base"]:
        assert one == pytest.approx({"mean": 0.2, "low": 0.2, "high": 0.2})
    assert [one["mean"] for one in ours["less_than_best_peer"]] == pytest.approx([0.2, -0.1])
    assert [one["mean"] for one in reference["less_than_base"]] == [0.0, 0.0]
    assert [one["mean"] for one in peer["less_than_best_peer"]] == pytest.approx([-0.1, 0.0])
    assert peer["regret"][0]["low"] < peer["regret"][0]["mean"] < peer["regret"][0]["high"]


def test_the_time_to_reach_a_score_is_the_first_one():
    curves = np.array([[0.0, 0.5, 0.4, 0.6, 0.6], [0.0, 0.5, 0.4, 0.6, 0.6], [0.0, 0.1, 0.2, 0.3, 0.4]])
    assert reach_time(curves, np.array([0.5, 0.6, 0.5])).tolist() == [0.25, 0.75, NEVER]


@pytest.fixture
def ramps(monkeypatch):
    """(M, D, S, G + 1): scores that rise evenly until a share of the budget and then stay, the same for all seeds."""
    monkeypatch.setattr(summary, "RESAMPLES", 1000)
    steps = np.linspace(0, 1, 101)

    def build(ends):  # {(method, data set): (height, share)}
        methods, data_sets = (1 + max(key[place] for key in ends) for place in (0, 1))
        select = np.empty((methods, data_sets, 3, 101))
        for (method, data_set), (height, share) in ends.items():
            select[method, data_set] = height * np.minimum(steps / share, 1)
        return select

    return build


def test_gpu_seconds_are_compared_with_the_best_peer_of_each_data_set(ramps):
    # On the first set, method 1 is the best peer and ends its rise at 80%: ours is as good at 20%.
    # On the second, method 2 is, with half of our height: we reach it at 50% of our rise.
    ends = {(0, 0): (0.8, 0.2), (1, 0): (0.8, 0.8), (2, 0): (0.4, 0.1)}
    ends |= {(0, 1): (1.0, 1.0), (1, 1): (0.2, 1.0), (2, 1): (0.5, 1.0)}
    by_set, ratios = reach_best_peer(ramps(ends), peers=[1, 2])
    assert [one["best_peer"] for one in by_set] == [1, 2]
    assert [one["score"] for one in by_set] == pytest.approx([0.8, 0.5])
    assert by_set[0]["share"] == [0.2, 0.8, None]
    assert by_set[1]["share"] == [0.5, None, 1.0]
    for kind, means in {
        "of_first_time": [(0.25 * 0.5) ** 0.5, (1.0 * NEVER) ** 0.5, (NEVER / 0.8 * 1.0) ** 0.5],
        "of_budget": [(0.2 * 0.5) ** 0.5, (0.8 * NEVER) ** 0.5, (NEVER * 1.0) ** 0.5],
    }.items():
        for ratio, mean in zip(ratios, means, strict=True):
            assert ratio[kind] == pytest.approx(dict.fromkeys(("mean", "low", "high"), mean))


def test_the_interval_of_the_ratio_is_that_of_the_mean_curve_of_resampled_seeds(ramps):
    # Of three seeds, two reach the best peer's score at 10% and one has no result: the mean of a resample reaches it
    # only if it does not draw that one, which has a probability of (2/3)^3 = 0.3.
    select = ramps({(0, 0): (1.0, 0.1), (1, 0): (1.0, 1.0)})
    select[0, 0, 2] = 0.0
    [one], [ours, peer] = reach_best_peer(select, peers=[1])
    assert one["share"] == [None, 1.0]
    assert ours["of_first_time"] == ours["of_budget"] == pytest.approx({"mean": NEVER, "low": 0.1, "high": NEVER})
    assert peer["of_first_time"] == {"mean": 1.0, "low": 1.0, "high": 1.0}


def test_regrets_are_means_over_data_sets_and_splits():
    methods = [OURS[0], BASE]
    found = np.full((2, 2, 3, len(TIMES), 2), 0.5)
    found[0, 0, ..., 0] = 0.9  # ours on select of the first set
    found[0, 1, ..., 1] = 0.7  # and on test of the second
    found[:, :, :, TIMES == 0.0] = 0.0
    figures = compare.summarize(np.array([[1.0, 0.6], [0.8, 0.8]]), found, np.eye(2), methods, ["a", "b"])
    assert figures["methods"][OURS[0]]["regret"][0]["mean"] == pytest.approx((0.1 + 0.1 + 0.3 + 0.1) / 4)
    assert figures["methods"][BASE]["regret"][0]["mean"] == pytest.approx((0.5 + 0.1 + 0.3 + 0.3) / 4)
    assert figures["methods"][OURS[0]]["less_than_base"][-1]["mean"] == pytest.approx(0.15)
    assert figures["best_peers"] == [BASE] * len(SHARES)
    assert figures["data_sets"]["a"]["methods"][OURS[0]]["select_regret"][2]["mean"] == pytest.approx(0.1)
    assert figures["data_sets"]["b"]["methods"][OURS[0]]["test_regret"][2]["mean"] == pytest.approx(0.1)
    assert figures["data_sets"]["b"]["best_peer_select"] == 0.5
    assert figures["data_sets"]["b"]["methods"][BASE]["searches_at_highest_tune"] == 1.0
    assert figures["data_sets"]["b"]["methods"][OURS[0]]["searches_at_highest_tune"] == 0.0
    compare.show(figures)


def test_scores_are_collected_by_method_data_set_and_seed():
    def curve(tune, select):
        return Curve(np.array([0.1, tune]), np.ones(2), np.array([0.0, select]), np.array([0.0, 2 * select]))

    curves = (curve(0.8, 0.4), curve(0.9, 0.3), Curve(*[np.array([])] * 4, failed_after=1.0))
    recorded = {"a": RecordedCurves(2, ({}, {}, {}), curves, (), {})}
    runs = {("a", "x", 0): [[0.3, 0.8, 0.4, 0.8]], ("a", "x", 1): [[0.3, 0.8, 0.4, 0.8], [0.7, 0.9, 0.3, 0.6]]}
    runs |= {("a", "y", seed): [] for seed in range(2)}
    best, found, at_top = compare.collect(runs, ["x", "y"], 2, recorded)
    assert best.tolist() == [[0.4, 0.8]]
    assert found.shape == (2, 1, 2, len(TIMES), 2)
    assert found[0, 0, :, 3].tolist() == [[0.4, 0.8], [0.4, 0.8]]  # at half of the budget
    assert found[0, 0, :, 4].tolist() == [[0.4, 0.8], [0.3, 0.6]]
    assert (found[1] == [0.3, 0.6]).all()  # a search without a report has the lowest scores
    assert at_top.tolist() == [[0.5], [0.0]]


def test_ours_and_the_base_are_always_compared_and_other_methods_only_if_they_are_named(tmp_path):
    methods = all_methods(tmp_path, None)
    assert set(choose_methods(methods, None)) == set(methods) - {SLOW}
    assert list(choose_methods(methods, [SLOW])) == [OURS[0], BASE, SLOW]
    with pytest.raises(typer.BadParameter, match="but got bohb"):
        choose_methods(methods, ["bohb"])


def test_an_interrupted_comparison_continues(tmp_path, monkeypatch):
    searched = []

    def search(method, data_set, seed, surrogates):
        searched.append((data_set, seed))
        return [[0.1, 0.5, 0.5 + 0.1 * seed, 0.5]]

    monkeypatch.setattr(compare, "run", search)
    runs, output = tmp_path / "runs.jsonl", tmp_path / "figures.json"
    options = {
        "scale": Scale.SMALL,
        "syne_tune": None,
        "neps": None,
        "runs": runs,
        "only": [BASE],
        "jobs": 1,
        "output": output,
    }
    compare.main(seeds=2, **options)
    whole, figures = runs.read_bytes(), json.loads(output.read_text())
    assert len(searched) == 2 * 2 * 4  # seeds, methods, data sets
    assert figures["seeds"] == 2
    assert list(figures["methods"]) == [OURS[0], BASE]
    runs.write_bytes(whole[:-20])
    compare.main(seeds=2, **options)
    assert searched[16:] == searched[15:16]
    assert runs.read_bytes() == whole
    assert json.loads(output.read_text()) == figures
