"""The ``ray.tune.Tuner`` of one driver session."""

from collections.abc import Callable, Sequence

from ray import tune

from trainables.core.data.dataset import Dataset
from trainables.worker.node_requirements import Demands
from trainables.worker.trainable import CHECKPOINT_RANK, run_trial
from tuning.ray_backend.callbacks.dropped_trials import LostTrials
from tuning.ray_backend.patches import patch_tune
from tuning.ray_backend.resources import Resources
from tuning.ray_backend.scheduler import StudyScheduler
from tuning.ray_backend.searcher import StudySearcher
from tuning.study.steering import Steering


def build_tuner(
    steering: Steering,
    data: Dataset,
    resources: Resources,
    session: str,
    max_failures: int,
    timeout_s: float,
    callbacks: Sequence[tune.Callback],
    stopper: tune.Stopper | None = None,
    demands: Demands | None = None,
) -> tune.Tuner:
    """Builds the Tuner of one driver session.

    Args:
        steering: The study and what steers it; checkpoints go under its ``storage``.
        data: What to train on.
        resources: Of one trial.
        session: Names this session's folder: checkpoints of earlier sessions are never overwritten.
        max_failures: How often a trial whose worker raised or died is tried again, from its last checkpoint.
        timeout_s: An epoch that takes longer counts as a hang, its worker is ended.
        callbacks: Such as the live view.
        stopper: Ends the search where nothing runs that could report; None waits.
        demands: What each node must have in common with the driver; None where there is the driver's own alone.
    """
    patch_tune()
    trainable: Callable[..., None] = tune.with_parameters(
        run_trial,
        data=data,
        objective=steering.objective,
        storage=steering.storage,
        timeout_s=timeout_s,
        demands=demands,
    )
    return tune.Tuner(
        tune.with_resources(trainable, tune.PlacementGroupFactory([resources.bundle()])),
        tune_config=tune.TuneConfig(
            search_alg=StudySearcher(steering),
            scheduler=StudyScheduler(steering),
            num_samples=-1,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: f"trial-{trial.config['number']:04d}",
        ),
        run_config=tune.RunConfig(
            name=session,
            storage_path=steering.storage,
            verbose=0,
            stop=stopper,
            failure_config=tune.FailureConfig(max_failures=max_failures),
            callbacks=[LostTrials(steering), *callbacks],
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1, checkpoint_score_attribute=CHECKPOINT_RANK),
        ),
    )
