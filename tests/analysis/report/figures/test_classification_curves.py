import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from analysis.report.figures.classification_curves import calibration, confusion, precision_recall, roc
from analysis.report.figures.style import NothingToDrawError
from analysis.statistics.calibration import reliability
from tests.analysis.samples import NAMES, drawn


@pytest.fixture(scope="module")
def predictions():
    """Probabilities of three classes for 300 images that have only the first two."""
    (probabilities,), sample = drawn(1, 300)
    return probabilities, np.where(sample.labels == 2, 0, sample.labels)


def test_confusion_keeps_classes_with_equal_short_names_apart():
    names = ("x" * 50 + "1", "x" * 50 + "2")
    figure = confusion({"one": [[3, 1], [0, 0]], "other": [[0, 0], [0, 9]]}, names)
    first, second = figure.data
    np.testing.assert_allclose(first.z, [[0.75, 0.25], [0, 0]])  # a class without images has shares of 0
    assert list(first.x) == [0, 1]
    assert (first.visible, second.visible) == (True, False)
    assert [button["label"] for button in figure.layout.updatemenus[0].buttons] == ["one", "other"]


def test_the_roc_curve_of_each_class_is_the_rate_of_images_above_each_threshold(predictions):
    probabilities, labels = predictions
    *curves, chance = roc(probabilities, labels, NAMES).data
    assert len(curves) == 2  # the absent class has no curve
    assert list(chance.x) == list(chance.y) == [0, 1]
    for index, curve in enumerate(curves):
        scores, positive = probabilities[:, index], labels == index
        assert f"AUC {roc_auc_score(positive, scores):.3f}, n = {positive.sum()}" in curve.name
        thresholds = [np.inf, *np.unique(scores)[::-1]]
        points = {(np.mean(scores[~positive] >= t), np.mean(scores[positive] >= t)) for t in thresholds}
        assert {tuple(np.round(point, 9)) for point in zip(curve.x, curve.y, strict=True)} <= {
            tuple(np.round(point, 9)) for point in points
        }


def test_precision_and_recall_are_those_of_each_threshold(predictions):
    probabilities, labels = predictions
    curves = precision_recall(probabilities, labels, NAMES).data
    for index, (curve, chance) in enumerate(zip(curves[::2], curves[1::2], strict=True)):
        scores, positive = probabilities[:, index], labels == index
        assert f"AP {average_precision_score(positive, scores):.3f}, n = {positive.sum()}" in curve.name
        np.testing.assert_allclose(chance.y, positive.mean())
        points = {(0.0, 1.0)}
        for threshold in scores:
            chosen = scores >= threshold
            points.add((round((chosen & positive).sum() / positive.sum(), 9), round(positive[chosen].mean(), 9)))
        assert {tuple(np.round(point, 9)) for point in zip(curve.x, curve.y, strict=True)} <= points


def test_long_curves_are_thinned_and_keep_their_ends():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 5000)
    scores = generator.random(5000)
    for draw in (roc, precision_recall):
        curve = draw(np.stack([1 - scores, scores], axis=1), labels, NAMES[:2]).data[0]
        assert len(curve.x) <= 400
        assert {0.0, 1.0} == {min(curve.x), max(curve.x)}


def test_images_of_one_class_have_no_curves(predictions):
    probabilities, _ = predictions
    with pytest.raises(NothingToDrawError, match="at least two classes"):
        roc(probabilities, np.zeros(300, np.int64), NAMES)


def test_calibration_draws_the_mean_confidence_and_the_accuracy_of_each_bin(predictions):
    probabilities, labels = predictions
    markers = calibration({"model": reliability(probabilities, labels)}).data[0]
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = np.ceil(confidence * 15).astype(int)
    expected = [(confidence[bins == place].mean(), correct[bins == place].mean()) for place in np.unique(bins)]
    np.testing.assert_allclose(np.stack([markers.x, markers.y], axis=1), expected)


def test_of_two_classes_only_the_ill_one_has_a_roc_curve():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 60)
    ill = generator.random(60)
    probabilities = np.stack([ill, 1 - ill], axis=1)
    for healthy, positive in ((None, 1), ("a", 1), ("b", 0)):
        curve, chance = roc(probabilities, labels, ("a", "b"), healthy).data
        area = roc_auc_score(labels == positive, probabilities[:, positive])
        assert curve.name.startswith(f"{'ab'[positive]} (AUC {area:.3f}")
        assert chance.name == "chance"


def test_cells_hold_counts_and_their_share_of_the_row():
    (heat,) = confusion({"one": [[3, 1], [0, 0]]}, ("a", "b")).data
    assert [list(row) for row in heat.text] == [["3<br>75%", "1<br>25%"], ["0<br>0%", "0<br>0%"]]


def test_no_marker_of_a_calibration_is_cut_at_the_edge(predictions):
    curve, _ = calibration({"one": reliability(*predictions)}).data
    assert curve.cliponaxis is False


def test_the_hover_of_a_calibration_names_what_its_bins_count(predictions):
    bins = {"one": reliability(*predictions)}
    of_images, of_predictions = (calibration(bins, **changes).data[0].text for changes in ({}, {"noun": "prediction"}))
    assert of_images[0] == f"{bins['one'][0].count} images"
    assert of_predictions[0] == f"{bins['one'][0].count} predictions"
