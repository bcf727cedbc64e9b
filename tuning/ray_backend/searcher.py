"""Ray Tune's searcher, which hands out the trials of the study."""

import math
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError
from ray.tune.search import Searcher

from analysis.trials import CONFIG
from trainables.core.errors import describe
from tuning.study.record_trial import read_record, save_failure
from tuning.study.steering import Steering
from tuning.study.storage.optuna_internals import void_draws


class StudySearcher(Searcher):
    """Searcher that hands out unfinished trials, then paused ones that may continue, then new ones."""

    def __init__(self, steering: Steering):
        objective = steering.objective
        super().__init__(metric=f"best_{objective.metric}", mode="min" if objective.minimized else "max")
        self._steering = steering
        steering.recover()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return a trial's config, None if there is no trial at the moment, or FINISHED at the end."""
        steering = self._steering
        if len(steering.live) >= min(steering.max_concurrent or math.inf, steering.capacity() + 1):
            return None
        out_of_time = steering.out_of_time()
        if out_of_time:
            steering.stop_unfinished()
        ending = out_of_time or steering.given_up is not None
        if steering.unfinished and not ending:
            trial = steering.unfinished.pop(0)
        elif not ending and (number := steering.next_promoted()) is not None:
            trial = steering.paused.pop(number)
        elif not ending and steering.new_trials_remain():
            trial = steering.study.ask()
        elif steering.live:
            return None  # a live trial may have to be handed out again, or let a paused one continue
        else:
            steering.end_if_complete()
            return str(Searcher.FINISHED)
        try:
            config = steering.configure(trial)
        except (OSError, StorageInternalError):  # the study is not writable
            raise
        except Exception as error:  # a bug in a rare branch of the space fails this trial, not the search
            save_failure(trial, describe(error))
            steering.finish(trial, failed=True)
            steering.end_if_complete()  # Tune asks for no further trial then
            return None
        void_draws(trial)
        trial.set_user_attr(CONFIG, config)
        steering.live[trial_id] = trial
        epochs = read_record(trial).epochs
        # A continued trial numbers its checkpoints from 0 again, so it gets a folder of its own.
        folder = f"trial-{trial.number:04d}" + (f"-after-{epochs[-1].epoch}" if epochs else "")
        last = {epoch.checkpoint.rpartition("/")[0]: epoch.checkpoint for epoch in epochs}  # in each of its folders
        resume_from = list(reversed(last.values()))
        return {"number": trial.number, "folder": folder, "train": config, "resume_from": resume_from}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:  # noqa: ARG002
        """Finish the trial in the study, unless it is paused or will be handed out again.

        A trial that Ray ends without an error is paused or has sent all its reports. If its worker dies after the last
        report, nothing is lost.

        The trial stays live until its end is written. If writing fails, Tune keeps the error to itself, runs the trial
        again from its last checkpoint, or fails it, and calls this method once more.
        """
        steering = self._steering
        trial = steering.live.get(trial_id)
        if trial is None:  # the scheduler has taken it back
            return
        if error:
            steering.paused.pop(trial.number, None)
        if trial.number not in steering.paused:
            steering.finish(trial, failed=error and not steering.has_ended(read_record(trial)))
        del steering.live[trial_id]
        steering.end_if_complete()

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing to pickle: Tune pickles its parts for a restore, but a search is restored from the study."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Write an empty file: the searcher has no state outside the study."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing, see ``save``."""
