"""A whole search for several labels per image: from a table to a champion that another process serves."""

import csv
import subprocess
import sys

import pytest

from tests.images import write_labelled
from tests.searches import environment, search, tracked

pytestmark = [pytest.mark.e2e, pytest.mark.ray]

SPACE = "chest_findings_space"
SMALL = [
    *("--data", "data", "--labels", "labels.csv", "--image-column", "image", "--label-column", "labels"),
    *("--group-column", "patient_id", "--weights", "random", "--backbone", "scratch_cnn", "--image-size", "32"),
    *("--max-epochs", "3", "--num-samples", "2", "--no-pruning", "--address", "local"),
]
LOAD = """
import sys
import mlflow, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
answers = model.predict(pd.DataFrame({"image": [open(file, "rb").read() for file in sys.argv[2:]]}))
print(answers[["dots", "left", "right", "labels"]].to_csv(index=False, header=False), end="")
"""


# takes 60 s: a search, and two processes that load the champion
@pytest.mark.slow
def test_from_a_table_to_a_champion(tmp_path):
    write_labelled(tmp_path / "data", 160)
    output = search(tmp_path, SPACE, *SMALL)
    assert "Note: images have any number of 3 labels (dots, left, right)" in output
    assert "2 trials of up to 3 epochs, optimising auroc" in output
    assert f"Registered: models:/{SPACE}@champion (version 1)" in output
    client, (parent,), children = tracked(f"sqlite:///{tmp_path}/mlflow.db", SPACE)
    assert {"test_auroc", "test_auroc/dots", "test_macro_f1", "select_average_precision"} <= parent.data.metrics.keys()
    assert all({"best_auroc", "tune/f1/left"} <= run.data.metrics.keys() for run in children)
    logged = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert logged >= {"report.html", "thresholds.json", "classification_report.txt"}

    files = sorted((tmp_path / "data").glob("*.png"))[:5]
    search(tmp_path, f"models:/{SPACE}@champion", *files, module="tuning.cli.predict")
    with (tmp_path / "predictions.csv").open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    done = subprocess.run(
        [sys.executable, "-c", LOAD, f"models:/{SPACE}@champion", *map(str, files)],
        cwd=tmp_path / "data",  # without this repository on the path
        env=environment(tmp_path) | {"PYTHONPATH": "", "MLFLOW_TRACKING_URI": uri},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    served = [line.split(",") for line in done.stdout.splitlines()]
    assert [row["labels"] for row in rows] == [line[-1] for line in served]
    for row, line in zip(rows, served, strict=True):
        assert [float(row[name]) for name in ("dots", "left", "right")] == pytest.approx(
            [float(value) for value in line[:3]]
        )
