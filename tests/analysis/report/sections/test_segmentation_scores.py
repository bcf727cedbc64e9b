import dataclasses
import re

import numpy as np
import optuna
import pytest

from analysis.ensembles.result import ChosenEnsemble, EnsembleResult, Openings, Registration
from analysis.ensembles.tasks.segmentation import SegmentationResults
from analysis.report.inputs import EnsembleInputs, Inspection
from analysis.report.render import render
from analysis.report.reporting.answers import FILLED, PARTLY
from analysis.report.reporting.data_flow import partition_table
from analysis.report.reporting.section import checklist, methods
from analysis.report.sections.model_comparison import metrics_table
from analysis.report.sections.segmentation_scores import (
    dice_panel,
    mask_overlays,
    segmentation_scores,
    worst_and_best,
)
from analysis.statistics.diversity import Diversity
from tests.analysis.report.report_inputs import add_trial, made_up_search
from tests.images import write_pairs
from tests.page import Page
from trainables.core.data.prepare import prepare

SIZE = 32


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    """A search with one trial on 80 discs with masks."""
    root = write_pairs(tmp_path_factory.mktemp("discs"), 80, SIZE)
    data = prepare(str(root), sizes=[SIZE], seed=0, store=tmp_path_factory.mktemp("store"))
    study = optuna.create_study(study_name="discs", direction="maximize")
    add_trial(study, 0.8, architecture="unet", image_size=SIZE)
    return made_up_search(data, study)


@pytest.fixture(scope="module")
def predicted(search):
    """Masks for the test images: the true ones, moved down by up to 6 pixels."""
    test = search.data.splits["test"]
    truths = search.data.masks(SIZE)[test]
    return np.stack([np.roll(mask, position % 7, axis=0) for position, mask in enumerate(truths)])


@pytest.fixture(scope="module")
def ensemble(search, predicted):
    return scored(search, predicted)


def scored(search, predicted):
    """Return a registered ensemble of the only trial, with the scores of the predicted masks on ``test``."""
    results, truths = SegmentationResults(search.data), search.data.masks(SIZE)[search.data.splits["test"]]
    pairs = zip(predicted, truths, strict=True)
    counts = [[(p & t).sum(), (p & (1 - t)).sum(), ((1 - p) & t).sum()] for p, t in pairs]
    predictions, sample = np.array([counts], dtype=np.float64), results.sample("test", "dice")
    comparison = results.compare(predictions, sample)
    evaluation = results.evaluate(predictions, comparison.combination, sample, 0)
    members = tuple(search.ranked)
    chosen = ChosenEnsemble(members, (0.8,), comparison, Diversity((), ()), "none", len(counts), len(sample.members))
    registration = Registration("1", "champion", "no version was the champion before")
    return EnsembleInputs(EnsembleResult(chosen, evaluation, Openings(1, 0), registration), "discs", None)


def dice(mask, truth):
    return 2 * np.logical_and(mask, truth).sum() / (mask.sum() + truth.sum())


def test_dice_is_the_mean_over_images_and_dataset_dice_pools_pixels(search, ensemble, predicted):
    truths = search.data.masks(SIZE)[search.data.splits["test"]]
    metrics, by_class, per_image = segmentation_scores(search, ensemble).blocks
    scores = [dice(mask, truth) for mask, truth in zip(predicted, truths, strict=True)]
    expected = {"Dice": np.mean(scores), "dataset Dice": dice(predicted, truths)}
    row = dict(zip(by_class.headings, by_class.rows[0], strict=True))
    assert metrics.headings == ("metric", "ensemble")  # its only member has the same scores
    overall = dict(metrics.rows)
    for name, value in expected.items():
        assert float(overall[name].split(" [")[0]) == pytest.approx(value, abs=6e-4)
        assert float(row[f"{name} [95% interval]"].split(" [")[0]) == pytest.approx(value, abs=6e-4)
    (bars,), layout = per_image.figure.data, per_image.figure.layout
    counted = [
        sum(start <= score <= start + width for score in scores)
        for start, width in zip(bars.x, bars.width, strict=True)
    ]
    assert list(bars.y) == counted and sum(counted) == len(scores)
    assert layout.yaxis.dtick == 1  # no ticks at half images


def test_overlays_show_the_extremes_with_their_dice(search, ensemble, predicted):
    truths = search.data.masks(SIZE)[search.data.splits["test"]]
    positions = worst_and_best(np.array(ensemble.evaluation.ensemble.per_image), 2)
    inspection = Inspection(mask_positions=positions, masks=predicted[positions])
    (gallery,) = mask_overlays(search, ensemble, inspection).blocks
    shown = [float(example.lines[0].removeprefix("Dice ")) for example in gallery.examples]
    scores = sorted(dice(mask, truth) for mask, truth in zip(predicted, truths, strict=True))
    assert shown == pytest.approx([*scores[:2], *scores[-2:]], abs=6e-4)
    (missing,) = mask_overlays(search, ensemble, Inspection(missing="a node was lost")).blocks
    assert "a node was lost" in missing.missing


def test_the_page_of_a_segmentation_has_its_own_sections(search, ensemble):
    page = render(search, ensemble, Inspection(missing="a node was lost"), "Made now.")
    assert re.findall(r'<section id="(\w+)">', page) == [
        *(
            "scores",
            "overlays",
            "models",
            "flow",
            "search",
            "leaderboard",
            "curves",
            "parameters",
            "origins",
            "data",
            "load",
            "claim",
        )
    ]
    assert "80 images with masks of 1 class," in Page(page).text


def test_masks_of_known_patients_are_predicted_by_image_only(search, predicted):
    patients = np.arange(len(search.data.labels)) // 2
    known = dataclasses.replace(search, data=dataclasses.replace(search.data, patients=patients))
    ensemble = scored(known, predicted)
    assert ensemble.evaluation.patients is not None
    text = Page(render(known, ensemble, Inspection(missing="a node was lost"), "Made now.")).text
    assert "model.predict(images)" in text and "patient=" not in text


def test_the_checklist_claims_no_intervals_or_classes_that_masks_of_few_groups_do_not_have(search, ensemble, predicted):
    groups, test = search.data.groups.copy(), search.data.splits["test"]
    groups[test] = len(groups) + np.arange(len(test)) % 5
    few = dataclasses.replace(search, data=dataclasses.replace(search.data, groups=groups))
    of_few = scored(few, predicted)
    rows = {int(row[0]): row[3:] for row in checklist(few, of_few).rows}
    assert rows[29] == [PARTLY, "There are too few groups for 95% intervals.", "Test scores"]
    assert rows[36][:2] == [PARTLY, "Images and groups in each partition."]
    assert rows[38] == [PARTLY, "Scores by class; there are too few groups for 95% intervals.", "Test scores"]
    assert rows[39][2] == "Worst and best"
    assert "too few groups for 95% intervals." in methods(few, of_few)
    assert partition_table(few).how_to_read.startswith("Images and groups. ")
    assert metrics_table(of_few).how_to_read.startswith("There are too few groups for intervals. ")
    enough = {int(row[0]): row[3:] for row in checklist(search, ensemble).rows}
    assert enough[29][:2] == [FILLED, "Scores have 95% intervals, which take whole groups as units."]
    assert enough[38][:2] == [FILLED, "Scores by class with 95% intervals."]


@pytest.mark.parametrize(
    ("per_image", "ends"),
    [((0.9,), (0.89, 0.91)), ((1.0,) * 5, (0.99, 1.0)), ((0.0, 0.0), (0.0, 0.01)), ((0.2, 1.0), (0.2, 1.0))],
)
def test_no_bar_of_the_histogram_leaves_the_range_of_dice(per_image, ends):
    (bars,) = dice_panel(per_image, "").figure.data
    assert (bars.x[0], bars.x[-1] + bars.width[-1]) == pytest.approx(ends)
    assert sum(bars.y) == len(per_image)


@pytest.mark.parametrize(("groups", "intervals"), [(3, False), (10, True)])
def test_few_groups_are_named_as_the_reason_for_missing_intervals(search, ensemble, groups, intervals):
    evaluation = dataclasses.replace(ensemble.evaluation, groups=groups)
    result = dataclasses.replace(ensemble.result, evaluation=evaluation)
    by_class = segmentation_scores(search, dataclasses.replace(ensemble, result=result)).blocks[1]
    assert ("there are no intervals" in by_class.how_to_read) != intervals


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_lowest_and_the_highest_scores_come_in_order(count):
    scores = np.array([0.5, 0.1, 0.9, 0.3, 0.7])
    ascending = np.sort(scores)
    expected = ascending if 2 * count >= len(scores) else [*ascending[:count], *ascending[-count:]]
    np.testing.assert_array_equal(scores[worst_and_best(scores, count)], expected)
