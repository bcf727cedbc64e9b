import numpy as np
import pytest

from analysis.ensembles.evaluation import Evaluation
from analysis.ensembles.serialization import from_json, to_json
from analysis.ensembles.tasks.segmentation import MaskPatientSample, MaskSample, SegmentationResults
from analysis.statistics.intervals.model_scores import intervals
from trainables.core.errors import DataError
from trainables.core.training.metrics.segmentation_metrics import segmentation_metrics

NAMES = ("lung", "heart")


def made_up(shares, count=40, seed=0):
    """Counts of models that find these shares of 100 pixels of each class, give or take; and their images."""
    generator = np.random.default_rng(seed)
    hits = np.clip(100 * np.array(shares)[:, None, None] + generator.normal(0, 3, (len(shares), count, 2)), 0, 100)
    counts = np.stack([hits.round(), np.full_like(hits, 5), 100 - hits.round()], axis=3)
    sample = MaskSample(np.zeros(count, dtype=np.int64), np.arange(count) // 2, NAMES, "dice")
    return counts.reshape(len(shares), count, 6), sample


def test_a_sample_scores_counts_as_training_does():
    counts, sample = made_up([0.8])
    assert sample.scores(counts[0]) == segmentation_metrics(counts[0].reshape(-1, 2, 3), NAMES)
    chosen = np.array([3, 3, 7])
    drawn = np.bincount(chosen, minlength=len(sample.labels))[None]
    repeated = sample.take(chosen).scores(counts[0][chosen])
    resampled = sample.resampled_scores(counts[0], drawn)
    assert {name: float(values[0]) for name, values in resampled.items()} == pytest.approx(repeated)


@pytest.mark.parametrize(
    ("shares", "chosen"),
    [
        ([0.9, 0.7, 0.6, 0.8, 0.7], "best-on-tune"),  # three members, the mean of two, of three
        ([0.7, 0.6, 0.6, 0.9, 0.8], "mean-of-2"),
        ([0.7, 0.6, 0.6, 0.75, 0.9], "mean-of-3"),
    ],
)
def test_the_best_number_of_members_is_chosen_and_evaluated(shares, chosen):
    counts, sample = made_up(shares)
    comparison = SegmentationResults.compare(counts, sample)
    assert (
        tuple(rule.rule for rule in comparison.rules)
        == SegmentationResults.rules(3)
        == ("best-on-tune", "mean-of-2", "mean-of-3")
    )
    assert comparison.chosen == chosen
    voters = SegmentationResults.rules(3).index(chosen) + 1
    assert comparison.combination.voters() == list(range(voters))
    assert comparison.combination.kind == "mean" and len(set(comparison.combination.weights[:voters])) == 1
    of_chosen = counts[0] if voters == 1 else counts[voters + 1]
    scored = SegmentationResults.evaluate(counts, comparison.combination, sample, best_member=0)
    assert scored.ensemble.metrics == sample.scores(of_chosen)
    assert len(scored.members) == 3
    low, high = scored.ensemble.intervals["dice"]
    assert low < scored.ensemble.metrics["dice"] < high
    assert np.mean(scored.ensemble.per_image) == pytest.approx(scored.ensemble.metrics["dice"])
    assert (scored.p_value is None) == (voters == 1)
    assert from_json(to_json(scored), Evaluation) == scored


def test_a_rule_can_be_forced_and_an_unknown_one_is_refused():
    counts, sample = made_up([0.9, 0.7, 0.8])
    assert SegmentationResults.compare(counts, sample, "mean-of-2").chosen == "mean-of-2"
    with pytest.raises(DataError, match="one of best-on-tune, mean-of-2, but got 'greedy'"):
        SegmentationResults.compare(counts, sample, "greedy")


def test_few_groups_have_no_interval():
    counts, sample = made_up([0.9], count=8)
    scored = SegmentationResults.evaluate(counts, SegmentationResults.compare(counts, sample).combination, sample, 0)
    assert scored.ensemble.intervals == {} and scored.groups == 4


def test_the_intervals_of_every_class_rest_on_all_groups():
    counts, _ = made_up([0.9], count=60)
    both = np.repeat(counts[0].reshape(60, -1, 3)[:, :1], 2, axis=1).reshape(60, -1)
    sample = MaskSample(np.zeros(60, dtype=np.int64), np.arange(60), ("lungs", "heart"), "dice")
    bounds = intervals(both, sample, count=50)
    assert set(bounds) == set(sample.scores(both))
    for metric in ("dice", "iou", "dataset_dice", "dataset_iou"):
        assert bounds[f"{metric}/heart"] == bounds[f"{metric}/lungs"] == pytest.approx(bounds[metric])


def test_the_pixels_of_a_patient_are_pooled():
    """As the Dice of a volume is that of all its slices together."""
    counts, plain = made_up([0.9, 0.7, 0.8], count=60)
    patients = np.random.default_rng(1).permutation(np.arange(60) // 3)
    sample = MaskPatientSample(plain.labels, patients, NAMES, "dice", patients=patients)
    combination = SegmentationResults.compare(counts, sample, "best-on-tune").combination
    result = SegmentationResults.evaluate(counts, combination, sample, 0)
    pooled = np.stack([counts[0][patients == patient].sum(axis=0) for patient in range(20)]).reshape(20, 2, 3)
    dice = 2 * pooled[..., 0] / (2 * pooled[..., 0] + pooled[..., 1] + pooled[..., 2])
    scores = result.patients.ensemble
    assert (result.units, result.patients.units) == (60, 20)
    assert scores.metrics["dice"] == pytest.approx(dice.mean())
    assert scores.metrics["dice/heart"] == pytest.approx(dice[:, 1].mean())
    assert scores.per_image == pytest.approx(dice.mean(axis=1))
    assert scores.intervals["iou"][0] < scores.metrics["iou"] < scores.intervals["iou"][1]
    assert (
        result.patients.members[1].metrics["dataset_dice"]
        == sample.by_patient.scores(sample.combined(counts[1]))["dataset_dice"]
    )
    assert result.ensemble == SegmentationResults.evaluate(counts, combination, sample.by_image, 0).ensemble
