import re
from dataclasses import replace

import numpy as np
import pytest

from analysis.statistics.paired_difference import Difference
from analysis.statistics.resampling import Sample
from tests.tuning.ensemble.conftest import elsewhere  # noqa: F401
from tests.tuning.ensemble.made_up import METRIC, Inference, find, made_up_data, made_up_study, quiet
from trainables.core.errors import UserError
from trainables.core.serving.operating_point import OperatingPoint
from tuning.compare import compare as module
from tuning.compare.compare import compare, compare_contenders, shared_test_images
from tuning.compare.contenders import Contender, Places
from tuning.compare.differences import Compared, Decided, decision_differences, show_differences, verdict


@pytest.fixture
def contenders(elsewhere):  # noqa: F811
    """An ensemble that guesses, and one that is right for nearly all of the images of another test set."""
    data = made_up_data()
    result = find(made_up_study(), data, Inference(data))
    other = replace(data, splits=data.splits | {"select": np.arange(100, 130), "test": np.arange(130, 200)})
    guessed = np.full((50, 2), 0.5) + np.random.default_rng(0).uniform(-0.1, 0.1, (50, 1)) * [[1, -1]]
    right = np.eye(2)[other.labels[130:]] * 0.8 + 0.1
    return Contender.of("old", data, result.chosen, guessed), Contender.of("new", other, result.chosen, right)


def test_only_images_in_both_test_sets_are_compared(contenders, monkeypatch):
    by_name = {contender.name: contender for contender in contenders}
    monkeypatch.setattr(module, "open_contender", lambda name, places, console: by_name[name])
    console = quiet()
    assert compare("old", "new", Places(), console) == 0
    printed = " ".join(console.file.getvalue().split())
    assert "Their test sets differ: 50 and 70 images; 50 in both." in printed
    old = np.mean(contenders[0].predictions.argmax(axis=1) == made_up_data().labels[150:])
    assert f"{old:.4f} │ 1.0000 │ {1 - old:+.3f} [" in printed
    assert f"B has the better {METRIC}: the interval of the difference excludes 0 (permutation test" in printed


def test_ensembles_of_other_data_or_images_are_refused(contenders):
    one, other = contenders
    assert np.array_equal(shared_test_images(one, other), np.arange(150, 200))
    changed = replace(other, data=replace(other.data, fingerprint="e" * 64))
    with pytest.raises(UserError, match="must have been tested on the same data, but old has made up and new has"):
        shared_test_images(one, changed)
    apart = replace(other, data=replace(other.data, splits={"test": np.arange(50)}))
    with pytest.raises(UserError, match="must have test images in common, but old and new have none"):
        shared_test_images(one, apart)


def printed_for(one, other):
    console = quiet()
    assert compare_contenders([one, other], console) == 0
    return " ".join(console.file.getvalue().split())


def with_patients(contender, patients, **changes):
    """The contender on data whose groups are these patients."""
    return replace(contender, data=replace(contender.data, patients=patients, groups=patients, **changes))


def test_different_patients_are_not_compared(contenders):
    """Two images a patient for one, four for the other; the images 148 and 149 are not in the test set of the first."""
    one, other = (with_patients(each, np.arange(200) // size) for each, size in zip(contenders, (2, 4), strict=True))
    for models, letters in (((one, other), "AB"), ((other, one), "BA")):
        printed = printed_for(*models)
        assert "By image: 50 in 13 groups" in printed and "By patient" not in printed
        assert "Note: A and B divide these images into different patients, so nothing is by patient." in printed
        assert "Note: A and B have different groups of images, and intervals keep together" in printed
        assert f"the search of {letters[0]} has seen other images of the groups of 2 test images" in printed
        assert f"scores of {letters[1]} may" not in printed
    single = replace(contenders[1], data=replace(contenders[1].data, groups=np.arange(200)))
    printed = printed_for(with_patients(contenders[0], np.arange(200) // 2), single)
    assert "By image: 50 in 25 groups" in printed and "By patient" not in printed
    assert "Note: only A has patients to score, so nothing is by patient." in printed


def test_a_metric_of_patients_leads_by_image_if_they_cannot_be_compared(contenders):
    one, other = (with_patients(each, np.arange(200) // size) for each, size in zip(contenders, (2, 4), strict=True))
    printed = printed_for(replace(one, metric=f"patient_{METRIC}"), other)
    assert f"B has the better {METRIC}: the interval of the difference excludes 0" in printed


def test_patients_with_other_labels_by_another_healthy_class_are_not_compared(contenders):
    patients = np.arange(200) // 2
    one, other = (with_patients(each, patients, healthy=healthy)
                  for each, healthy in zip(contenders, ("a", None), strict=True))  # fmt: skip
    first, last = made_up_data().labels[150:].reshape(25, 2).T
    mixed = int((first != last).sum())
    printed = printed_for(one, other)
    assert "By image: 50 in 25 groups" in printed and "By patient" not in printed
    assert f"Note: A and B have different healthy classes, by which {mixed} patients have different labels" in printed
    assert "different healthy classes" in printed_for(one, with_patients(other, patients, healthy="b"))
    labels = np.repeat(made_up_data().labels[::2], 2)
    alike = [with_patients(each, patients, labels=labels, healthy=each.data.healthy) for each in (one, other)]
    printed = printed_for(*alike)
    assert "By patient: 25 in 25 groups" in printed and "nothing is by patient" not in printed


def test_equal_patients_are_paired_whatever_their_numbers(contenders):
    one = with_patients(contenders[0], np.arange(200) // 2)
    shuffled = np.random.default_rng(5).permutation(100)[one.data.patients]
    printed = printed_for(one, with_patients(contenders[0], shuffled))
    assert "By patient" in printed and "different" not in printed
    assert printed.count("Both give the same predictions.") == 1
    rows = re.findall(r"│ ([\d.]+) │ ([\d.]+) │ \+0.000", printed[printed.index("By patient") :])
    assert rows and all(first == last for first, last in rows)


def test_images_of_patients_without_a_label_have_no_scores_by_patient(contenders):
    """Each patient of the shared images has one of each class, and there is no healthy class."""
    data = made_up_data()
    one = with_patients(contenders[0], np.arange(200) // 2)
    pairs = data.labels[150:].reshape(25, 2)
    rows = 150 + np.flatnonzero(np.repeat(pairs[:, 0] != pairs[:, 1], 2))
    assert list(one.on(rows, one.data.groups[rows]).by_unit) == ["image"]
    assert list(one.on(np.arange(150, 200), one.data.groups[150:]).by_unit) == ["image", "patient"]


@pytest.mark.parametrize(
    ("metric", "interval", "answer"),
    [
        ("auroc", (0.01, 0.2), "B has the better auroc"),
        ("log_loss", (0.01, 0.2), "A has the better log_loss"),
        ("auroc", (-0.01, 0.2), "These images do not show which has the better auroc"),
        ("auroc", None, "The difference in auroc has no interval"),
    ],
)
def test_the_verdict_follows_from_the_interval(metric, interval, answer):
    said = verdict(metric, Difference(0.5, 0.6, interval), 1 / 4096)
    assert said.startswith(answer) and "p = 0.00024)" in said


def test_averages_of_few_groups_of_a_class_are_marked_and_explained():
    groups = np.concatenate([np.arange(56), np.full(2, 56), np.full(2, 57)])
    labels = np.repeat([0, 1, 2, 3], [28, 28, 4, 0])
    sample, generator = Sample(labels, groups, ("a", "b", "c", "d"), "balanced_accuracy"), np.random.default_rng(0)
    models = [Compared({"image": (generator.dirichlet(np.ones(4), 60), sample)}, {}) for _ in range(2)]
    notes = show_differences(models, "balanced_accuracy", console := quiet())
    assert [note.split(":")[0] for note in notes] == [
        "no test image of d",
        "averages and their intervals (*) are conditional on the few test groups of c (fewer than 10)",
    ]
    assert "]*" in console.file.getvalue()
    many = [
        replace(one, by_unit={"image": (one.by_unit["image"][0][:56], sample.take(np.arange(56)))}) for one in models
    ]
    assert show_differences(many, "accuracy", console := quiet()) == ["no test image of c", "no test image of d"]
    assert "]*" not in console.file.getvalue()


def test_models_are_compared_at_their_own_thresholds():
    """Two images of each of 24 patients, of whom 12 are ill; both models read the same probabilities."""
    generator = np.random.default_rng(3)
    positive, groups = np.arange(48) % 4 < 2, np.arange(48) // 2
    scores = np.clip(0.4 * positive + generator.random(48) * 0.6, 0, 1)
    at = [OperatingPoint("ill", 1, False, threshold, "youden") for threshold in (0.3, 0.6)]
    models = [Decided(one, scores >= one.threshold, positive, groups) for one in at]
    found = dict(decision_differences(*models))
    assert list(found) == ["sensitivity", "specificity"]
    assert found["sensitivity"].first == np.mean(scores[positive] >= 0.3)
    assert found["specificity"].second == np.mean(scores[~positive] < 0.6)
    for name in found:
        low, high = found[name].interval
        assert low <= found[name].second - found[name].first <= high
    ill_only = [replace(one, called=one.called[positive], positive=positive[positive], groups=groups[positive])
                for one in models]  # fmt: skip
    assert list(dict(decision_differences(*ill_only))) == ["sensitivity"]
