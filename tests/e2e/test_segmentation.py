"""A whole search for masks by the command itself: from pairs of images and masks to a champion that another serves."""

import csv
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.images import write_classes, write_pairs
from tests.page import Page
from tests.searches import SMALL as CLASSIFIER
from tests.searches import environment, search, tracked
from tests.trainables.core.serving.ensembles.test_segmentation_ensemble import trained  # noqa: F401
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.ensemble import save_ensemble

pytestmark = [pytest.mark.e2e, pytest.mark.ray]

SPACE = "lung_segmentation_space"
SMALL = [
    *("--data", "data", "--weights", "random", "--image-size", "32", "--backbone", "mobilenetv3_small_050"),
    *("--max-epochs", "2", "--num-samples", "2", "--no-pruning", "--address", "local"),
]

LOAD = """
import base64, io, sys
import mlflow, numpy as np, pandas as pd
from PIL import Image
model = mlflow.pyfunc.load_model(sys.argv[1])
frame = pd.DataFrame({"image": [open(file, "rb").read() for file in sys.argv[2:]]})
for text in model.predict(frame)["mask"]:
    print(np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))).sum())
"""


@pytest.mark.slow
def test_from_pairs_to_a_champion(tmp_path):
    write_pairs(tmp_path / "data", 48)
    output = search(tmp_path, SPACE, *SMALL)
    assert "2 trials of up to 2 epochs, optimising dice" in output
    assert "opened once" in output
    assert f"Registered: models:/{SPACE}@champion (version 1)" in output

    client, (parent,), children = tracked(f"sqlite:///{tmp_path}/mlflow.db", SPACE)
    assert {"test_dice", "test_iou", "test_dataset_dice", "best_dice", "select_dice"} <= parent.data.metrics.keys()
    assert all({"best_dice", "best_iou", "tune/dice"} <= run.data.metrics.keys() for run in children)
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} >= {"report.html", "ensemble.json"}
    check_report(tmp_path / "results" / SPACE / "report.html")

    files = sorted((tmp_path / "data" / "images").iterdir())[:5]
    search(tmp_path, f"models:/{SPACE}@champion", *files, module="tuning.cli.predict")
    with (tmp_path / "predictions.csv").open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    masks = [np.asarray(Image.open(tmp_path / row["mask"])) for row in rows]
    assert [float(row["foreground"]) for row in rows] == pytest.approx([(mask == 1).mean() for mask in masks])

    elsewhere = tmp_path / "elsewhere"  # without this repository on the path
    elsewhere.mkdir()
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    done = subprocess.run(
        [sys.executable, "-c", LOAD, f"models:/{SPACE}@champion", *map(str, files)],
        cwd=elsewhere,
        env=environment(tmp_path) | {"PYTHONPATH": "", "MLFLOW_TRACKING_URI": uri},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert [int(line) for line in done.stdout.split()] == [int(mask.sum()) for mask in masks]
    refused = search(tmp_path, SPACE, "--soup", module="tuning.cli.ensemble", code=2)
    assert "--soup is not available for a segmentation, whose decoder starts from other random weights" in refused


def check_report(file):
    parsed = Page(file.read_text())
    assert parsed.asked == []
    for told in (
        "Worst and best",
        "Dice by image",
        "best dice",
        "0 is background, 255 is foreground",
    ):
        assert told in parsed.text
    for told in ("Grad-CAM", "Confusion", "Calibration", "nearest neighbour"):
        assert told not in parsed.text


@pytest.mark.faults
def test_a_search_of_cut_images_goes_on_with_the_same_regions_alone(trained, tmp_path):  # noqa: F811
    write_classes(tmp_path / "data", {"even": 30, "odd": 30})
    lungs, heart = tmp_path / "lungs", tmp_path / "heart"
    shutil.copytree(trained[2], lungs)
    save_ensemble(heart, [[checkpoint] for checkpoint in trained[1]], Combination.of(np.array([1.0, 3.0])))
    begin = ["demo_space", "--data", "data", *CLASSIFIER, "--num-samples", "1"]
    refused = search(tmp_path, *begin, "--metric", "clinical", "--roi", lungs, code=2)
    assert "clinical" in refused and not (tmp_path / "results").exists()
    search(tmp_path, *begin, "--roi", lungs)
    shutil.rmtree(lungs)  # the search has a copy of its own

    (kept,) = (tmp_path / "results" / "demo_space").glob("roi-*")
    go_on = [*begin, "--resume", "--num-samples", "2"]
    for other in ([], ["--roi", heart]):
        assert "a resumed search must keep its roi" in search(tmp_path, *go_on, *other, code=2)
    assert "2 trials" in search(tmp_path, *go_on, "--roi", kept)
    assert list((tmp_path / "results" / "demo_space").glob("roi-*")) == [kept]
    search(tmp_path, "demo_space", module="tuning.cli.ensemble")
