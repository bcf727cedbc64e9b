"""A driver without Ray: searcher and scheduler, called as Tune would call them."""

import math
from types import SimpleNamespace

from ray.tune.schedulers import TrialScheduler

from trainables.core.metric_names import Objective
from tuning.ray_backend.scheduler import StudyScheduler
from tuning.ray_backend.searcher import StudySearcher
from tuning.study.steering import Steering
from tuning.study.storage.open_study import open_study, study_storage

METRIC = "balanced_accuracy"
EPOCHS = 9


class Driver:
    """One driver process; only the study outlives it."""

    def __init__(
        self,
        folder,
        num_samples=6,
        deadline=math.inf,
        max_concurrent=None,
        epochs=EPOCHS,
        url=None,
        name="search",
        unit="epoch",
    ):
        self.study = open_study(study_storage(folder, url), name, Objective(METRIC), epochs, seed=0)
        self.steering = Steering(
            study=self.study,
            objective=Objective(METRIC),
            epochs=epochs,
            num_samples=num_samples,
            max_concurrent=max_concurrent,
            deadline=deadline,
            configure=lambda trial: {"lr": trial.suggest_float("lr", 0.0, 1.0)},
            storage="/checkpoints",
            unit=unit,
        )
        self.searcher, self.scheduler = StudySearcher(self.steering), StudyScheduler(self.steering)
        self.count = 0
        self.trials = {}  # Tune's trials that have reported, by ID

    def start(self):
        self.count += 1
        trial_id = f"ray-{id(self)}-{self.count}"
        config = self.searcher.suggest(trial_id)
        return trial_id, config

    def report(self, trial_id, epoch, value):
        storage = SimpleNamespace(trial_fs_path=f"/checkpoints/session-001/{trial_id}", storage_fs_path="/checkpoints")
        result = {
            "epoch": epoch,
            f"tune/{METRIC}": value,
            f"best_{METRIC}": value,
            "best_epoch": epoch,
            "epoch_seconds": 1.0,
            "checkpoint_dir_name": f"checkpoint_{epoch:06d}",
            "time_total_s": 5.0,
        }
        failed_once = SimpleNamespace(num_failures=1)
        self.trials[trial_id] = SimpleNamespace(trial_id=trial_id, storage=storage, run_metadata=failed_once)
        return self.scheduler.on_trial_result(None, self.trials[trial_id], result)

    def run(self, value=lambda number: 0.5):
        trial_id, config = self.start()
        for epoch in range(1, EPOCHS + 1):
            if self.report(trial_id, epoch, value(config["number"])) == TrialScheduler.STOP:
                break
        self.searcher.on_trial_complete(trial_id)
        return config
