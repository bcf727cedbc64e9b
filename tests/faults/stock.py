"""A search built from stock parts: Tune, OptunaSearch, MLflowLoggerCallback, Tuner.restore.

python -m tests.faults.stock FOLDER TRACKING_URI NUM_SAMPLES [--resume]
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import ray
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.search.optuna import OptunaSearch

EPOCHS = 4


def train(config):
    checkpoint = tune.get_checkpoint()
    done = 0
    if checkpoint:
        with checkpoint.as_directory() as folder:
            done = json.loads((Path(folder) / "state.json").read_text())
    for epoch in range(done + 1, EPOCHS + 1):
        time.sleep(0.3)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "state.json").write_text(json.dumps(epoch))
            tune.report(
                {"score": config["lr"] + epoch, "epoch": epoch}, checkpoint=tune.Checkpoint.from_directory(folder)
            )
    print("trained", flush=True)


def main():
    folder, uri, num_samples = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    ray.init(num_cpus=2, include_dashboard=False)
    if "--resume" in sys.argv:
        tuner = tune.Tuner.restore(str(folder / "stock"), train, resume_errored=True)
    else:
        tuner = tune.Tuner(
            train,
            tune_config=tune.TuneConfig(
                search_alg=OptunaSearch({"lr": tune.uniform(0, 1)}, metric="score", mode="max", seed=0),
                num_samples=num_samples,
            ),
            run_config=tune.RunConfig(
                name="stock",
                storage_path=str(folder),
                callbacks=[MLflowLoggerCallback(tracking_uri=uri, experiment_name="stock")],
            ),
        )
    tuner.fit()


if __name__ == "__main__":
    main()
