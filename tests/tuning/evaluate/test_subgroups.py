from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import recall_score, roc_auc_score

from analysis.ensembles.tasks.label_samples import LabelSample
from analysis.statistics.external.subgroup_test import holm
from analysis.statistics.resampling import Sample
from trainables.core.serving.operating_point import OperatingPoint
from tuning.evaluate.subgroups import divisions

POINT = OperatingPoint("ill", 1, False, 0.4, "youden")


def made_up(images=120, gap=0.0, seed=0):
    """Images of two sites in groups of two; at site B, the probability of the ill is lower by ``gap``."""
    generator = np.random.default_rng(seed)
    groups = np.arange(images) // 2
    labels, site = generator.integers(0, 2, images // 2)[groups], np.array(["A", "B"])[groups % 2]
    ill = np.clip(0.3 * labels + 0.6 * generator.random(images) - gap * (site == "B") * labels, 0.01, 0.99)
    return np.stack([1 - ill, ill], axis=1), Sample(labels, groups, ("well", "ill"), "auroc"), site


def test_the_scores_of_a_subgroup_are_those_of_scikit_learn():
    probabilities, sample, site = made_up()
    (division,) = divisions({"site": site.tolist()}, probabilities, sample, POINT)
    for subgroup in division.subgroups:
        rows = site == subgroup.name
        truth, ill = sample.labels[rows], probabilities[rows, 1]
        called = ill.astype(np.float32) >= np.float32(0.4)
        assert (subgroup.images, subgroup.groups) == (60, 30)
        assert subgroup.figures == pytest.approx(
            {
                "auroc": roc_auc_score(truth, ill),
                "sensitivity": recall_score(truth, called),
                "specificity": recall_score(truth, called, pos_label=0),
            }
        )
        assert all(low < subgroup.figures[name] < high for name, (low, high) in subgroup.intervals.items())
        assert subgroup.intervals.keys() == subgroup.figures.keys()


def test_a_worse_site_is_found_and_p_values_are_corrected_for_all_columns():
    probabilities, sample, site = made_up(gap=0.4)
    sex = np.where(np.arange(120) // 2 % 4 < 2, "F", "M")
    by_site, by_sex = divisions({"site": site.tolist(), "sex": sex.tolist()}, probabilities, sample, POINT)
    assert by_site.corrected["auroc"] < 0.05 and by_site.corrected["sensitivity"] < 0.05
    assert by_sex.corrected["auroc"] > 0.05 and by_site.corrected["specificity"] > 0.05
    p_values = [*by_site.p_values.values(), *by_sex.p_values.values()]
    assert len(p_values) == 6
    assert [*by_site.corrected.values(), *by_sex.corrected.values()] == holm(p_values)


def test_a_single_value_is_not_tested_and_a_small_subgroup_has_no_interval():
    probabilities, sample, _ = made_up()
    few = ["few"] * 6 + ["many"] * 114
    all_alike, small = divisions({"ward": ["W"] * 120, "size": few}, probabilities, sample, None)
    assert all_alike.p_values == all_alike.corrected == {}
    assert small.subgroups[0].intervals == {} and small.subgroups[1].intervals.keys() == {"auroc"}


@pytest.mark.parametrize("several", [False, True])
def test_a_subgroup_without_a_class_has_no_average_over_the_others(several):
    generator = np.random.default_rng(0)
    labels, site = np.repeat([0, 1, 2], 60), np.resize(["A", "B", "C"], 180)
    site[120:] = np.resize(["A", "C"], 60)  # site B lacks the last class
    probabilities = generator.dirichlet(np.ones(3), 180) * 0.6 + 0.4 * np.eye(3)[labels]
    if several:  # or everyone there has the last label
        labels = np.eye(3, dtype=np.int64)[labels]
        labels[site == "B", 2] = 1
    kind = LabelSample if several else Sample
    sample = kind(labels, np.arange(180), ("a", "b", "c"), "macro_f1")
    (division,) = divisions({"site": site.tolist()}, probabilities, sample, None)
    first, lacking, last = division.subgroups
    assert (lacking.figures, lacking.intervals) == ({}, {})
    assert first.figures.keys() == last.figures.keys() == {"macro_f1"} and first.intervals
    complete = np.flatnonzero(site != "B")
    (others,) = divisions({"site": site[complete].tolist()}, probabilities[complete], sample.take(complete), None)
    assert division.p_values["macro_f1"] == pytest.approx(others.p_values["macro_f1"], abs=0.1)
    loss = replace(sample, metric="log_loss")
    assert all(one.figures for one in divisions({"site": site.tolist()}, probabilities, loss, None)[0].subgroups)


def test_subgroups_come_from_the_lowest_range_and_unknown_values_last():
    probabilities, sample, _ = made_up()
    names = ["65 and above", "unknown", "18 to below 65", "below 18"]
    (division,) = divisions({"age": [name for name in names for _ in range(30)]}, probabilities, sample, None)
    assert [one.name for one in division.subgroups] == ["below 18", "18 to below 65", "65 and above", "unknown"]
    assert division.subgroups[0].figures["auroc"] == pytest.approx(
        roc_auc_score(sample.labels[90:], probabilities[90:, 1])
    )


def test_a_subgroup_with_few_groups_of_a_class_has_no_interval():
    generator = np.random.default_rng(0)
    labels = np.concatenate([generator.permutation(np.arange(60) % 2), np.arange(60) < 3]).astype(np.int64)
    ill = np.clip(0.3 * labels + 0.6 * generator.random(120), 0.01, 0.99)
    sample = Sample(labels, np.arange(120), ("well", "ill"), "auroc")
    (division,) = divisions({"site": ["A"] * 60 + ["B"] * 60}, np.stack([1 - ill, ill], axis=1), sample, None)
    assert [one.intervals.keys() for one in division.subgroups] == [{"auroc"}, set()]
    assert division.subgroups[1].figures["auroc"] == pytest.approx(roc_auc_score(labels[60:], ill[60:]))
