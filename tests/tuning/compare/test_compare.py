from dataclasses import replace

import numpy as np
import pytest

from analysis.statistics.paired_difference import Difference
from tests.tuning.ensemble.conftest import elsewhere  # noqa: F401
from tests.tuning.ensemble.made_up import METRIC, Inference, find, made_up_data, made_up_study, quiet
from trainables.core.errors import UserError
from trainables.core.serving.operating_point import OperatingPoint
from tuning.compare import compare as module
from tuning.compare.compare import compare, shared_test_images
from tuning.compare.contenders import Contender, Places
from tuning.compare.differences import Decided, decision_differences, verdict


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
    assert verdict(metric, Difference(0.5, 0.6, interval), 0.04).startswith(answer)


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
