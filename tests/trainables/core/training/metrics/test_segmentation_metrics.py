import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, jaccard_score

from trainables.core.errors import DataError
from trainables.core.models.networks.pixel_predictions import pixel_counts
from trainables.core.training.metrics.segmentation_metrics import check_mask_objective, segmentation_metrics


def drawn(classes, count=5, size=12, seed=0):
    generator = np.random.default_rng(seed)
    return generator.integers(0, classes + 1, (2, count, size, size))


@pytest.mark.parametrize("classes", [1, 2, 4])
def test_overlaps_against_scikit_learn(classes):
    truth, predicted = drawn(classes)
    counts = pixel_counts(torch.from_numpy(predicted), torch.from_numpy(truth).to(torch.uint8), classes).numpy()
    names = tuple(f"c{index}" for index in range(classes))
    metrics = segmentation_metrics(counts, names)
    labels = range(1, classes + 1)
    pairs = {"dice": f1_score, "iou": jaccard_score}
    for name, reference in pairs.items():
        by_image = np.array(
            [
                reference(one.ravel(), other.ravel(), labels=labels, average=None)
                for one, other in zip(truth, predicted, strict=True)
            ]
        )
        pooled = reference(truth.ravel(), predicted.ravel(), labels=labels, average=None)
        assert metrics[name] == pytest.approx(by_image.mean())
        assert metrics[f"dataset_{name}"] == pytest.approx(pooled.mean())
        for index, class_name in enumerate(names):
            assert metrics[f"{name}/{class_name}"] == pytest.approx(by_image[:, index].mean())
            assert metrics[f"dataset_{name}/{class_name}"] == pytest.approx(pooled[index])


def test_a_class_that_is_neither_present_nor_predicted_scores_one():
    empty, full = torch.zeros(1, 4, 4, dtype=torch.int64), torch.ones(1, 4, 4, dtype=torch.int64)

    def score(predicted, truth):
        return segmentation_metrics(pixel_counts(predicted, truth, 1).numpy(), ("x",))

    assert score(empty, empty)["dice"] == 1
    assert score(full, empty)["dice"] == 0
    assert score(empty, full)["iou"] == 0


def test_objectives():
    check_mask_objective("dice/left_lung", ("left lung", "left_lung"))
    with pytest.raises(DataError, match="must be one of dice, .*balanced_accuracy"):
        check_mask_objective("balanced_accuracy", ("lung",))
    with pytest.raises(DataError, match="at least one image"):
        segmentation_metrics(np.zeros((0, 1, 3)), ("lung",))
