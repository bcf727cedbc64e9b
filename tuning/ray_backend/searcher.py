"""The searcher of Ray Tune over the study."""

import math
import time
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError
from ray.tune.search import Searcher

from analysis.trials import CONFIG
from trainables.core.errors import describe
from tuning.study.steering import Steering


class StudySearcher(Searcher):
    """Hands out the study's unfinished trials first, then new ones up to ``num_samples``."""

    def __init__(self, steering: Steering):
        objective = steering.objective
        super().__init__(metric=f"best_{objective.metric}", mode="min" if objective.minimized else "max")
        self._steering = steering
        steering.unfinished = steering.settle()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """A trial's config; None where there is none right now; FINISHED at the end."""
        steering = self._steering
        if len(steering.live) >= min(steering.max_concurrent or math.inf, steering.capacity() + 1):
            return None
        out_of_time = time.time() >= steering.deadline
        if out_of_time:
            steering.run_out()
        ending = out_of_time or steering.given_up is not None
        if steering.unfinished and not ending:
            trial = steering.unfinished.pop(0)
        elif not ending and steering.handed_out() < steering.num_samples:
            trial = steering.study.ask()
        else:
            return None if steering.live else str(Searcher.FINISHED)  # one that is live may come back
        try:
            config = steering.configure(trial)
        except (OSError, StorageInternalError):  # the study cannot be written
            raise
        except Exception as error:  # a rare branch of the space: that trial has failed, the search goes on
            steering.note_failure(trial, describe(error))
            steering.tell(trial, failed=True)
            return None
        trial.set_user_attr(CONFIG, config)
        steering.live[trial_id] = trial
        epochs = steering.record(trial).epochs
        return {"number": trial.number, "train": config, "resume_from": epochs[-1].checkpoint if epochs else None}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:  # noqa: ARG002
        """Tells the study; a trial that Ray ends without an error has reported all it had to."""
        self._steering.tell(self._steering.live.pop(trial_id), failed=error)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its parts for a restore that is never made; the study is what is restored."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Leaves an empty file: there is no state beside the study."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Has nothing to do, see ``save``."""
