"""Whole searches by the command itself, each in a process of its own, judged by what they leave behind."""

import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from sklearn.metrics import cohen_kappa_score

from tests.page import Page
from tests.searches import SMALL, called_out, check_nothing_lost, load, search, start_search, tracked

pytestmark = [pytest.mark.e2e, pytest.mark.ray]

PREDICT = """
import sys
sys.path = [entry for entry in sys.path if entry not in ("", {repository!r})] + [{packages!r}]
import mlflow, pandas as pd, json
try:
    import trainables
    sys.exit("the repository is on the path")
except ImportError:
    pass
mlflow.set_tracking_uri({uri!r})
model = mlflow.pyfunc.load_model("models:/{name}@champion")
images = [bytes.fromhex(line) for line in open({images!r}).read().split()]
print(model.predict(pd.DataFrame({{"image": images}})).to_json(orient="split"))
"""


def predict_elsewhere(folder, space, images):
    """Predicts with the champion in a process that has the environment but not this repository on its path."""
    (folder / "images.hex").write_text("\n".join(image.hex() for image in images))
    packages = next(entry for entry in sys.path if entry.endswith("site-packages"))
    code = PREDICT.format(
        repository=str(Path(__file__).parents[2]),
        packages=packages,
        uri=f"sqlite:///{folder}/mlflow.db",
        name=space,
        images=str(folder / "images.hex"),
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    table = json.loads(done.stdout.splitlines()[-1])
    assert table["columns"][-2:] == ["unlike_training", "unlike_score"]
    decided = ["is_positive"] * ("is_positive" in table["columns"])  # where the space has a healthy class
    classes = len(table["columns"]) - 2 - len(decided)
    assert table["columns"][classes:-2] == decided
    return table["columns"][:classes], np.array([row[:classes] for row in table["data"]])


def test_a_search_ends_with_runs_and_a_champion_that_loads_elsewhere(folder):
    output = search(folder, "demo_space", "--data", "data", *SMALL, "--num-samples", 3)
    assert "trial 0 scratch_cnn epoch 1/3: balanced_accuracy" in output
    assert "opened once" in output
    assert "Registered: models:/demo_space@champion (version 1)" in output

    _, (parent,), children = tracked(f"sqlite:///{folder}/mlflow.db", "demo_space")
    assert parent.info.status == "FINISHED"
    assert len(children) == 3
    assert {child.info.status for child in children} <= {"FINISHED", "KILLED"}
    columns = {"best_balanced_accuracy", "best_macro_f1", "best_epoch", "epoch_seconds"}
    assert all(columns <= run.data.metrics.keys() for run in [parent, *children])
    tests = {"test_accuracy", "test_balanced_accuracy", "test_macro_f1", "test_auroc", "test_brier", "test_ece"}
    tests |= {"select_balanced_accuracy", "select_macro_f1", "test_openings"}
    assert tests <= parent.data.metrics.keys()
    assert not any(name.startswith("test_") for child in children for name in child.data.metrics)
    assert len(parent.data.tags["tune.data_fingerprint"]) == 64

    files = sorted((folder / "data").rglob("*.png"))
    names, probabilities = predict_elsewhere(folder, "demo_space", [file.read_bytes() for file in files])
    assert names == ["few", "many", "some"]
    assert probabilities.shape == (144, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert called_out(folder) == []


@pytest.mark.slow
def test_a_finished_search_is_reported_rebuilt_compared_and_extended(folder):
    search(folder, "demo_space", "--data", "data", *SMALL, "--num-samples", 3)
    _, (parent,), _ = tracked(f"sqlite:///{folder}/mlflow.db", "demo_space")
    # Taken up again with nothing left to do, it says the same: no second opening of test, no second version.
    again = search(folder, "--resume", "demo_space", "--report")  # its options are in the study
    assert "opened once" in again
    assert "(version 1)" in again
    check_report(folder, parent.info.run_id)
    # Built again without training; the test set stays sealed unless it is asked for, and then that is counted.
    rebuilt = search(folder, "demo_space", "--rule", "mean", "--tta", "flips", module="tuning.cli.ensemble")
    assert "Chosen: mean, balanced_accuracy" in rebuilt
    assert "opened" not in rebuilt
    search(folder, "demo_space", "--rule", "median", module="tuning.cli.ensemble", code=2)
    rebuilt = search(folder, "demo_space", "--tta", "flips", "--open-test", "--register", module="tuning.cli.ensemble")
    assert "opened 2 times" in rebuilt
    compared = search(folder, "demo_space", "models:/demo_space/1", module="tuning.cli.compare")
    assert "Both were tested on the same" in compared and "+0.000 [+0.000, +0.000]" in compared
    check_comparison_with_a_rebuilt_version(folder, rebuilt)
    assert re.search(r"Registered: models:/demo_space@(champion|challenger) \(version 2\)", rebuilt)
    # Its page tells as much as the champion's, and a small set is noted everywhere.
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    pages = [client.get_model_version("demo_space", number).description for number in "12"]
    for part in ("### Scores", "| test accuracy |", "### Members", "### Data and split", "small data set", "### Use"):
        assert all(part in page for page in pages)
    assert "small data set" in parent.data.tags["tune.notes"]
    # A finished search is extended, not started again.
    search(folder, "demo_space", "--data", "data", *SMALL, "--num-samples", 4, "--resume")
    _, parents, children = tracked(f"sqlite:///{folder}/mlflow.db", "demo_space")
    assert (len(parents), len(children)) == (1, 4)
    assert parents[0].info.status == "FINISHED"
    opened = int(parents[0].data.tags["tune.test_openings"])
    assert opened in (2, 3)  # once more only if the new trial became a member
    assert parents[0].data.metrics["test_openings"] == opened
    for module, *arguments in (
        ("run", "--list"),
        ("run", "alzheimer_space", "--dry-run", 2, "--weights", "random"),
        ("audit", "data"),
        ("new", "data", "--out", "own_space.py"),
        ("predict", "models:/demo_space@champion", "data/few", "--out", "predictions.csv"),
    ):
        search(folder, *arguments, module=f"tuning.cli.{module}")
    assert called_out(folder) == []  # of the commands above, too


def check_comparison_with_a_rebuilt_version(folder, rebuilt):
    """Version 2 has the scores that were printed when it was tested; version 3 was not tested."""
    compared = search(folder, "demo_space", "models:/demo_space/2", module="tuning.cli.compare")
    for metric, label in (("balanced accuracy", "balanced accuracy"), ("auroc", "AUROC"), ("log loss", "log loss")):
        tested = float(re.search(rf"│ {metric} +│ +([\d.]+) │", rebuilt)[1])
        shown = re.search(rf"│ {label} +│ +[\d.]+ │ +([\d.]+) │ +[+-][\d.]+ \[", compared)
        assert float(shown[1]) == pytest.approx(tested, abs=1.1e-4), metric
    search(folder, "demo_space", "--tta", "turns", "--register", module="tuning.cli.ensemble")
    refused = search(folder, "demo_space", "models:/demo_space/3", module="tuning.cli.compare", code=2)
    assert "models:/demo_space/3 must have been scored on the test set of demo_space" in refused


def check_report(folder, run_id):
    """It lies in the folder and with the run, needs nothing beside it, and is made again without the test set."""
    page = (folder / "results" / "demo_space" / "report.html").read_text()
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    assert Path(client.download_artifacts(run_id, "report.html", str(folder))).read_text() == page
    parsed = Page(page)
    assert parsed.asked == []
    for told in (
        "Grad-CAM",
        "t-SNE",
        "Calibration",
        "and was opened once",
        "no version was the champion before",
        "Small data set",
    ):
        assert told in parsed.text
    assert "could not be drawn" not in parsed.text
    assert page.count("data:image/jpeg;base64,") >= 24  # an image and its heat map, of twelve
    again = search(folder, "demo_space", "--out", "again.html", module="tuning.cli.report")
    assert "Report: again.html" in again
    assert "and was opened once" in (folder / "again.html").read_text()
    (opened,) = load(folder, "demo_space").user_attrs["test_openings"].values()
    assert opened == 1


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(signal.SIGTERM, marks=pytest.mark.faults),  # handled as Ctrl-C is
        pytest.param(signal.SIGKILL, marks=pytest.mark.slow),
    ],
)
def test_a_search_that_is_stopped_goes_on_with_resume(folder, sent):
    arguments = ["demo_space", "--data", "data", *SMALL, "--max-epochs", 6, "--num-samples", 3]
    driver = start_search(folder, *arguments)
    driver.send_signal(sent)
    rest, _ = driver.communicate(timeout=120)
    if sent == signal.SIGKILL:
        assert driver.returncode == -signal.SIGKILL
        time.sleep(5)  # Ray's processes end when they find their driver gone
    else:
        assert driver.returncode == 130, rest
        assert "rerun the same command with --resume" in rest
        _, (parent,), children = tracked(f"sqlite:///{folder}/mlflow.db", "demo_space")
        assert "RUNNING" not in {run.info.status for run in [parent, *children]}

    search(folder, *arguments, code=2)  # unfinished, and --resume was not given
    search(folder, *arguments, "--resume")
    check_nothing_lost(load(folder, "demo_space"), f"sqlite:///{folder}/mlflow.db", "demo_space", 3, epochs=6)


DIVERGING = """
from search_spaces.space import SearchSpace

def suggest(trial, backbones):
    lr = trial.suggest_categorical("lr", {rates})
    return {{"backbone": trial.suggest_categorical("backbone", list(backbones)), "head": "mlp", "optimizer": "sgd",
             "momentum": 0.99, "lr": lr, "batch_size": 16}}

SPACE = SearchSpace(name="mine", title="mine", suggest=suggest, backbones=("scratch_cnn",), data="data",
                    recipes=tuple({recipes}), weights="random", image_size=32, epochs=8, num_samples=2)
"""


@pytest.mark.faults
def test_a_space_of_ones_own_whose_trials_diverge(folder):
    (folder / "mine.py").write_text(DIVERGING.format(rates=[10.0], recipes=[]))
    output = search(folder, "mine.py", "--address", "local", code=1)
    assert "trial 0 failed: NonFiniteLossError: the" in output
    assert "No trial finished, so there is no ensemble" in output
    _, (parent,), children = tracked(f"sqlite:///{folder}/mlflow.db", "mine")
    assert [run.info.status for run in [parent, *children]] == ["FAILED"] * 3
    assert all(child.data.tags["tune.error"].startswith("NonFiniteLossError") for child in children)


@pytest.mark.faults
def test_the_time_budget_ends_a_search_with_its_ensemble(folder):
    output = search(
        folder,
        "demo_space",
        "--data",
        "data",
        *SMALL,
        "--max-epochs",
        5000,
        "--num-samples",
        500,
        "--time-budget",
        "15s",
    )
    assert "stopped (time budget)" in output
    assert "Registered: models:/demo_space@champion" in output


@pytest.mark.slow
@pytest.mark.mri
def test_real_brain_images_from_parquet_to_a_reproduced_score(real_data, tmp_path):
    """The issue's own command on every sixth image, so that it fits into a test."""
    subset = tmp_path / "mri"
    subset.mkdir()
    for split in ("train", "test"):
        table = pq.read_table(next((real_data / "alzheimer_mri" / "data").glob(f"{split}-*.parquet")))
        rare = np.flatnonzero(table["label"].to_numpy() == 1)
        rows = np.union1d(np.arange(0, len(table), 6), rare)
        pq.write_table(table.take(pa.array(rows)), subset / f"{split}-00000-of-00001.parquet")
    search(
        tmp_path, "alzheimer_space", "--data", "mri", "--weights", real_data / "weights", "--address", "local",
        "--backbone", "torchvision:squeezenet1_1", "--image-size", 64, "--num-samples", 6, "--max-epochs", 2,
        "--no-report", "--split", "published",
    )  # fmt: skip
    _, (parent,), children = tracked(f"sqlite:///{tmp_path}/mlflow.db", "alzheimer_space")
    assert len(children) == 6
    # The same stages of the same weights are stored once, and left out of every checkpoint.
    depths = {int(child.data.params["freeze_depth"]) for child in children}
    frozen = list((tmp_path / "results" / "alzheimer_space" / "frozen").iterdir())
    assert len(frozen) == len(depths - {0}) > 0
    assert all((one / "frozen.safetensors").stat().st_size > 0 for one in frozen)
    table = pq.read_table(subset / "test-00000-of-00001.parquet")
    images = [row["bytes"] for row in table["image"].to_pylist()]
    names, probabilities = predict_elsewhere(tmp_path, "alzheimer_space", images)
    assert names == ["Non_Demented", "Very_Mild_Demented", "Mild_Demented", "Moderate_Demented"]
    labels = np.array([2, 3, 0, 1])[table["label"].to_numpy()]  # published in alphabetical order
    hits = probabilities.argmax(axis=1) == labels
    assert hits.mean() == pytest.approx(parent.data.metrics["test_accuracy"], abs=1e-9)
    recalls = [hits[labels == label].mean() for label in Counter(labels)]
    assert np.mean(recalls) == pytest.approx(parent.data.metrics["test_balanced_accuracy"], abs=1e-9)
    kappa = cohen_kappa_score(labels, probabilities.argmax(axis=1), weights="quadratic")
    assert kappa == pytest.approx(parent.data.metrics["test_quadratic_weighted_kappa"], abs=1e-9)


@pytest.mark.slow
def test_the_demo_on_phantoms_says_that_they_are_synthetic(tmp_path):
    output = search(tmp_path, "demo_space", *SMALL, "--max-epochs", 1, "--num-samples", 1)
    assert output.count("synthetic data: phantoms, not patients") == 2
