import re
from dataclasses import replace

import numpy as np
import pytest

from analysis.ensembles.evaluation import Evaluation, PointScores
from analysis.ensembles.tasks.classification import score
from analysis.report.evaluation.inputs import (
    AtPrevalence,
    Copies,
    Difference,
    Division,
    ExternalResult,
    Outcome,
    PointCurve,
    Recalibrated,
    Shift,
    Subgroup,
)
from analysis.report.evaluation.page import evaluation_page
from analysis.report.evaluation.tables import all_tables, subgroup_tables
from analysis.statistics.calibration import binned, expected_calibration_error
from analysis.statistics.external.calibration_line import CalibrationLine
from analysis.statistics.external.net_benefit import PredictiveValue, decision_curve
from analysis.statistics.external.two_sample_test import TwoSampleTest
from analysis.statistics.resampling import Sample
from trainables.core.serving.operating_point import OperatingPoint


@pytest.fixture(scope="module")
def result():
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 2
    ill = np.clip(0.3 * labels + 0.6 * generator.random(60), 0.01, 0.99)
    sample = Sample(labels, np.arange(60), ("<b>well</b>", "ill"), "auroc")
    scores = score(np.stack([1 - ill, ill], axis=1), sample)
    point = OperatingPoint("ill", 1, False, 0.4, "youden")
    scores = scores.with_points({"": PointScores(point, (25, 5, 20, 10), (30, 30), {"sensitivity": (0.66, 0.93)})})
    bins = binned(ill, labels == 1)
    line = CalibrationLine(-0.25, 1.5, (-0.5, 0.1), None)
    curve = decision_curve(ill, labels == 1, np.arange(1, 100) / 100, sample=sample)
    outcome = Outcome("ill", 30, line, bins, expected_calibration_error(bins), curve)
    evaluation = Evaluation(scores, (scores,), 0, None, 60, (), ())
    subgroups = tuple(Subgroup(name, 30, 30, {"auroc": value}, {}) for name, value in (("A", 0.7), ("B", 0.9)))
    return ExternalResult(
        model="models:/brains/3",
        digest="d" * 64,
        place="/second",
        fingerprint="f" * 64,
        metric="auroc",
        class_names=sample.class_names,
        images=60,
        evaluation=evaluation,
        outcomes=(outcome,),
        prevalence=0.1,
        at_prevalence=(AtPrevalence("ill", "image", PredictiveValue(0.217, (0.1, 0.4)), PredictiveValue(0.97, None)),),
        divisions=(Division("site", subgroups, {"auroc": 0.02}, {"auroc": 0.04}),),
        differences=(Difference("auroc", scores.metrics["auroc"], 0.95, (0.9, 0.99), (-0.2, 0.02)),),
        shift=Shift(60, 3, 9, 0.8, TwoSampleTest(0.75, 1e-4, 40)),
        copies=Copies(2, "compared with the 100 images of the search at /first", 3, ("a.png", "b.png")),
        left_out={"has no label": 4},
        recalibrated=Recalibrated(0.3, 20, (1.5,), (0.2, -0.2), evaluation, (outcome,)),
        earlier=2,
        notes=("DATA has no images of cold",),
    )


def test_the_page_says_everything_once_and_escapes_names(result):
    page = evaluation_page(result, "Made today.")
    text = re.sub(r"<script.*", "", page, flags=re.DOTALL)
    for part in (
        "External evaluation of models:/brains/3",
        f"without refitting: AUROC {result.evaluation.metrics()['auroc']:.3f}",
        "On its internal test set it had 0.950 [0.900, 0.990]",
        "sensitivity 0.833 [0.660, 0.930]",
        "evaluated on these images 2 times before",
        "DATA has no images of cold.",
        "At a prevalence of 0.1",
        "0.217 [0.100, 0.400]",
        "-0.250 [-0.500, +0.100]",
        "corrected for the number of tests, 1 (Holm)",
        'data-heading="AUROC [95%]">0.04</td>',
        "Copies of images of the search, which were left out: 2 (a.png, b.png) and 3 other images of their groups",
        "Not scored: 4 has no label.",
        "3 of 60 images unlike its training images",
        "with accuracy 0.750 on 40 held-out images",
        "fitted to 20 images, 30% of the groups",
        "The band shows the 95% interval at each threshold",
        "Made today. This page contains no images of the data set, but may contain file names.",
    ):
        assert part in text, part
    assert "<b>well</b>" not in page
    assert text.count('class="plot"') == 3  # confusion, reliability, decision curve


def test_the_first_lines_are_by_patient_if_the_metric_is(result):
    point = PointScores(OperatingPoint("ill", 1, False, 0.3, "youden", "patient"), (5, 5, 8, 2), (10, 10), {})
    scores = replace(result.evaluation.ensemble, metrics={"auroc": 0.75}, intervals={}, points=(point,))
    both = replace(result.evaluation, patients=replace(result.evaluation, ensemble=scores))
    text = evaluation_page(replace(result, metric="patient_auroc", evaluation=both, differences=()), "")
    assert "without refitting: AUROC by patient 0.750." in text
    assert "At its threshold for ill by patient it has sensitivity 0.500 and specificity 0.800." in text
    assert "At its threshold for ill it has sensitivity 0.833" in evaluation_page(result, "")


def test_a_decision_curve_ends_where_the_model_is_of_no_use_any_more(result):
    """With few positives, nearly all of the range from 0 to 1 would lie below the figure."""
    truth, scores = np.arange(60) % 2 == 0, np.linspace(0.01, 0.99, 60)
    curve = decision_curve(scores, truth, np.arange(1, 100) / 100, prevalence=0.05)
    rare = replace(result, outcomes=(replace(result.outcomes[0], curve=curve),), recalibrated=None)
    highest = max(
        threshold for threshold, benefit in zip(curve.thresholds, curve.model, strict=True) if benefit > 0.0025
    )
    assert highest < 0.05  # so that twice the share of positives is shown
    page = evaluation_page(rare, "")
    assert "Not shown: thresholds above 10%, where it mostly has next to no benefit." in page
    assert '"range":[0,0.1]' in page.replace(" ", "")
    assert "Not shown: thresholds" not in evaluation_page(result, "")
    high = np.array(curve.thresholds) == 0.9  # where only a few images are called positive, and happen to be
    benefit = tuple(np.where(high, 0.01, curve.model).tolist())
    chance = replace(rare, outcomes=(replace(result.outcomes[0], curve=replace(curve, model=benefit)),))
    assert '"range":[0,0.1]' in evaluation_page(chance, "").replace(" ", "")


def test_captions_say_where_the_share_of_positives_comes_from(result):
    """With three classes, it is the share of all but the healthy one; with several labels, it is assumed for each."""
    truth, scores = np.arange(60) % 2 == 0, np.linspace(0.01, 0.99, 60)
    curve = decision_curve(scores, truth, np.arange(1, 100) / 100, prevalence=0.1)
    assert "Share of positives: 50.0%, that of these images." in evaluation_page(replace(result, prevalence=None), "")
    two = replace(result, outcomes=(replace(result.outcomes[0], curve=curve),))
    assert "Share of positives: 10.0%, as stated." in evaluation_page(two, "")
    plain, of_any = replace(result, recalibrated=None), PointCurve("any but well", curve)
    page = evaluation_page(replace(plain, class_names=("well", "ill", "b"), curve_at_prevalence=of_any), "")
    first, last = page.index("Decision curve of any but well"), page.index("Decision curve of ill")
    assert first < page.index("Share of positives: 10.0%, as stated.") < last
    assert last < page.index("Share of positives: 50.0%, that of these images.")
    evaluation = replace(result.evaluation, ensemble=replace(result.evaluation.ensemble, recalls=()))
    labels = replace(two, evaluation=evaluation)
    assert "Share of positives: 10.0%, as stated, assumed for each label." in evaluation_page(labels, "")
    assert "At a prevalence of 0.1 of each label" in [table.title for table in all_tables(labels)]
    assert "At a prevalence of 0.1" in [table.title for table in all_tables(result)]


def test_a_column_of_a_single_value_has_no_table_and_is_named(result):
    (division,) = result.divisions
    single = replace(division, column="country", subgroups=division.subgroups[:1], p_values={}, corrected={})
    both = replace(result, divisions=(single, division))
    assert [table.title for table in subgroup_tables(both)] == ["By site"]
    alone = replace(result, divisions=(single,))
    for page in (evaluation_page(both, ""), evaluation_page(alone, "")):
        assert "No subgroups, since all images have the same value: country (A)." in page
    assert "since all images have the same value" not in evaluation_page(result, "")


def test_a_column_that_cannot_be_tested_says_why(result):
    (division,) = result.divisions
    untested = replace(division, p_values={}, corrected={})
    (table,) = subgroup_tables(replace(result, divisions=(untested,)))
    assert table.how_to_read.startswith("Not tested: images of a group are in several subgroups")
    assert [row[0] for row in table.rows] == ["A", "B"]
    tested, other = subgroup_tables(replace(result, divisions=(division, replace(untested, column="slice"))))
    assert not tested.how_to_read and other.how_to_read.startswith("Not tested")
    assert [row[0] for row in tested.rows] == ["A", "B", "p-value", "p-value, corrected"]


def test_what_is_not_known_is_said_or_left_out(result):
    bare = replace(
        result,
        prevalence=None,
        at_prevalence=(),
        divisions=(),
        differences=(),
        shift=Shift(60, 0, test=TwoSampleTest(0.75, None, 40)),
        copies=Copies(None, "copies of images of the search could not be looked for, because they are gone"),
        left_out={},
        recalibrated=None,
        earlier=None,
        outcomes=(replace(result.outcomes[0], line=None, curve=None),),
    )
    page = evaluation_page(bare, "")
    assert "could not be looked for" in page and "earlier evaluations on these images are not known" in page.lower()
    assert "All images are alike, so there is no curve." in page and "undefined" in page
    assert "The internal test scores are not known" in page
    assert "accuracy 0.750 on 40 held-out images (0.5 if they are alike). Networks" in page
    assert "There is no p-value, because the model" in page
    assert [table.title for table in all_tables(bare)] == [
        "Scores by image", "At the model's thresholds", "Recall by class", "Calibration",
    ]  # fmt: skip


def test_of_many_labels_those_with_the_most_positives_have_curves_and_the_others_are_named(result):
    (outcome,) = result.outcomes
    names = [f"finding {letter}" for letter in "abcdefghijklmnopqrst"]
    outcomes = tuple(
        replace(outcome, name=name, positives=place, curve=outcome.curve if place else None)
        for place, name in enumerate(names)
    )
    page = evaluation_page(replace(result, outcomes=outcomes, recalibrated=None), "")
    text = re.sub(r"<script.*", "", page, flags=re.DOTALL)
    assert re.findall("Decision curve of (finding .)", text) == names[14:]
    hidden = "Shown are the 6 with the most positives. Not shown: {}."
    assert hidden.format(", ".join(names[:14])) in text  # reliability
    assert hidden.format(", ".join(names[1:14])) in text
    assert "No curve, because all images are alike: finding a." in text
    assert "Not shown: finding" not in evaluation_page(result, "") and "The other thresholds" not in text
    (point,) = result.evaluation.ensemble.points
    scores = replace(result.evaluation.ensemble, points=(point, point))
    several = evaluation_page(replace(result, evaluation=replace(result.evaluation, ensemble=scores)), "")
    assert "specificity 0.667. The other thresholds are in a table below." in several
