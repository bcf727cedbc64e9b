"""A search on disk that has ended, without Ray: a study, checkpoints of real networks, and runs in SQLite."""

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from analysis.trials import CONFIG, EpochRecord
from tests.tuning.ensemble.made_up import quiet
from trainables.core.config import TrainConfig
from trainables.core.data.dataset import Dataset
from trainables.core.metric_names import Objective
from trainables.core.models.checkpoints.checkpoint import Checkpoint, save_checkpoint
from trainables.core.models.checkpoints.train_state import TrainState
from trainables.core.models.networks.build import build_network
from trainables.worker.inference import extract_here, infer_here
from tuning.ensemble.build import find_ensemble
from tuning.ensemble.members import EnsembleRequest
from tuning.ensemble.publish import publish
from tuning.study.attributes import save_data_request
from tuning.study.data_request import DataRequest
from tuning.study.identity import check_identity
from tuning.study.opening_ledger import split_fingerprint
from tuning.study.storage.open_study import open_study, study_storage
from tuning.tracking.outbox import Tracker
from tuning.tracking.runs import SearchInfo

NAME, MODEL, METRIC = "search", "brains", "balanced_accuracy"


@dataclass
class RealSearch:
    """A search whose trials have one epoch each, of networks with random weights."""

    folder: Path
    request: DataRequest
    data: Dataset
    task: str = "classification"
    metric: str = METRIC

    def __post_init__(self):
        self.uri = f"sqlite:///{self.folder}/mlflow.db"
        (self.folder / NAME).mkdir()
        self.study = open_study(study_storage(self.folder / NAME, None), NAME, Objective(self.metric), 1, seed=0)
        fingerprints = {f"{split} fingerprint": split_fingerprint(self.data, split) for split in ("select", "test")}
        identity = {"space": MODEL, "metric": self.metric, "max-epochs": 1, "pruning": False, "image-size": 32}
        identity |= {"tracking-uri": self.uri, "data fingerprint": self.data.fingerprint, **fingerprints}
        check_identity(self.study, identity)
        save_data_request(self.study, self.request)

    def add_trial(self, value):
        """Add a trial that reached ``value``."""
        trial = self.study.ask()
        settings = {"backbone": "scratch_cnn", "weights": "random", "head": "linear", "optimizer": "adamw", "lr": 1e-3}
        settings |= {"image_size": 32, "batch_size": 16, "epochs": 1, "device": "cpu", "task": self.task}
        config, data = TrainConfig.from_dict(settings), self.data
        torch.manual_seed(trial.number)
        tensors = build_network(config, len(data.class_names)).state_dict()
        state = TrainState(1, {f"model.{name}": tensor for name, tensor in tensors.items()}, {})
        place = self.folder / NAME / "session-001" / f"trial-{trial.number}" / "checkpoint_0"
        checkpoint = Checkpoint(state, config, data.class_names, data.pixel_format, {}, data.kind)
        save_checkpoint(place / "checkpoint", checkpoint)
        trial.set_user_attr(CONFIG, config.to_dict())
        metrics = {"best_epoch": 1, f"best_{self.metric}": value, "epoch_seconds": 1.0}
        trial.set_user_attr(*EpochRecord(1, metrics, 1_700_000_000_000, str(place)).attribute())
        self.study.tell(trial, value)

    @contextmanager
    def tracker(self):
        """Send the study to MLflow, as a driver does from its start to its end."""
        info = SearchInfo(MODEL, NAME, "uid-1", {"seed": 0}, {"tune.space": MODEL})
        tracker = Tracker(self.study, self.uri, info)
        try:
            yield tracker
        finally:
            tracker.close("FINISHED")
        assert tracker.unsent is None

    def publish(self, **changes):
        """Choose an ensemble and publish it as ``tune-run`` does at its end; return it, its version and the tracker."""
        request = EnsembleRequest(self.metric, **changes)
        with self.tracker() as tracker:
            infer = partial(infer_here, self.data, views=request.views)
            result = find_ensemble(self.study, self.data, request, infer, tracker, quiet())
            extract = partial(extract_here, self.data)
            registration = publish(self.study, result, self.data, tracker, MODEL, extract)
        return result, registration, tracker
