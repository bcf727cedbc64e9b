"""Evaluation of a segmentation on masks that it has never seen."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.images import png, write_classes, write_pairs
from tests.trainables.core.serving.ensembles.test_segmentation_ensemble import trained  # noqa: F401
from tests.tuning.cli.test_evaluate import apart, invoke, read  # noqa: F401
from trainables.core.data.source import MaskFormat
from trainables.core.serving.ensemble_files import open_ensemble
from tuning.evaluate.data.class_names import masks_in_model_classes


@pytest.fixture
def elsewhere():
    """30 images of 15 patients at twice the size of the network's input, and their table."""
    root = write_pairs(Path("second"), 30, size=64, seed=9)
    rows = [f"images/{index:03d}.png,p{index // 2},{'AB'[index // 2 % 2]}" for index in range(30)]
    Path("groups.csv").write_text("\n".join(["image,group,site", *rows]) + "\n")
    return root


def overlaps(predicted, true):
    """Dice and IoU of (..., H, W) masks, by brute force."""
    both, either = (predicted & true).sum(axis=(-2, -1)), (predicted | true).sum(axis=(-2, -1))
    return 2 * both / (both + either), both / either


def test_masks_are_scored_as_they_are_served_and_as_the_search_scores_them(trained, elsewhere):  # noqa: F811
    arguments = ("--groups", "groups.csv", "--by", "site", "--json", "out.json", "--report", "out.html")
    output = invoke(trained[2], elsewhere, *arguments).output
    result = read("out.json")
    ensemble = open_ensemble(trained[2], torch.device("cpu"))
    files = sorted((elsewhere / "images").iterdir())
    predictions = ensemble.predict_batch([file.read_bytes() for file in files])
    true = np.stack([np.asarray(Image.open(elsewhere / "masks" / file.name)) == 255 for file in files])
    dice, iou = overlaps(np.stack([one.mask for one in predictions]) == 1, true)
    own_size = result["own_size"]["ensemble"]
    assert own_size["metrics"]["dice"] == pytest.approx(dice.mean())
    assert own_size["metrics"]["iou"] == pytest.approx(iou.mean())

    small = np.stack([np.asarray(Image.fromarray(mask).resize((32, 32), Image.Resampling.NEAREST)) for mask in true])
    predicted = np.stack([one.input_mask for one in predictions]) == 1
    dice, _ = overlaps(predicted, small)
    scores = result["evaluation"]["ensemble"]
    assert scores["metrics"]["dice"] == scores["metrics"]["dice/foreground"] == pytest.approx(dice.mean())
    low, high = scores["intervals"]["dice"]
    assert low < dice.mean() < high
    pooled = overlaps(predicted.reshape(15, -1, 32), small.reshape(15, -1, 32))[0]
    assert result["evaluation"]["patients"]["ensemble"]["metrics"]["dice"] == pytest.approx(pooled.mean())
    (division,) = result["divisions"]
    site = np.array(["AB"[index // 2 % 2] for index in range(30)])
    for subgroup in division["subgroups"]:
        assert subgroup["figures"]["dice"] == pytest.approx(dice[site == subgroup["name"]].mean())
    assert division["p_values"].keys() == {"dice"}
    assert result["outcomes"] == [] and result["evaluation"]["members"] == []
    for shown in ("Scores by patient", "Masks at full size", "By site"):
        assert shown in output and shown in Path("out.html").read_text()
    assert "By class" not in output  # the scores are those of the only class
    assert "Calibration" not in output and "operating point" not in output


def test_images_of_the_search_are_refused_and_masks_of_other_kinds_named(trained):  # noqa: F811
    model, (_, _, _, root) = trained[2], trained
    write_classes(Path("classes"), {"a": 3, "b": 3})
    refusal = invoke(model, "classes", code=2).stderr
    assert "by mask, but" in refusal and "give a folder with images/ and masks/" in refusal
    assert "--prevalence needs a model of probabilities" in invoke(model, root, "--prevalence", 0.1, code=2).stderr
    masks = Path("several/masks")
    write_pairs(masks.parent, 4)
    (masks / "000.png").write_bytes(png(np.asarray(Image.open(masks / "000.png")) // 255 * 7))
    assert "add --map 'class_7'='foreground'" in invoke(model, "several", code=2).stderr


def test_masks_are_read_in_the_classes_of_the_model():
    """Values 10 and 30 mean one class, 20 another; the model's class ``vessel`` is never drawn."""
    new = MaskFormat(("a", "b", "c"), {0: 0, 10: 1, 20: 2, 30: 3})
    of_model = ("tumour", "vessel", "organ")
    found, columns = masks_in_model_classes(new, np.array([2, 0, 2]), of_model)
    assert columns.tolist() == [0, 2] and found.class_names == ("tumour", "organ")
    assert found.classes == {0: 0, 10: 2, 20: 1, 30: 2}
