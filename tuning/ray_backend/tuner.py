"""The ``ray.tune.Tuner`` of one driver session."""

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ray import tune

from trainables.core.data.dataset import Dataset
from trainables.worker.node_requirements import NodeRequirements
from trainables.worker.report_keys import CHECKPOINT_RANK
from trainables.worker.trainable import run_trial
from tuning.ray_backend.callbacks.dropped_trials import DroppedTrials
from tuning.ray_backend.patches import patch_tune
from tuning.ray_backend.resources import Resources
from tuning.ray_backend.scheduler import StudyScheduler
from tuning.ray_backend.searcher import StudySearcher
from tuning.study.steering import Steering


@dataclass(frozen=True)
class TrialPolicy:
    """Resources of trials, and limits on their failures and hangs.

    Attributes:
        resources: Resources of one trial.
        max_failures: How often a trial is retried, from its last checkpoint, after its worker raised or died. The count
            begins again with each report.
        timeout_s: Seconds after which an epoch counts as a hang and its worker is ended.
        requirements: Requirements on nodes that join later; None if there is only the driver's own node.
        devices: Number of devices that train a trial together: its GPUs, or processes on the CPU.
    """

    resources: Resources
    max_failures: int
    timeout_s: float
    requirements: NodeRequirements | None = None
    devices: int = 1


def build_tuner(
    steering: Steering,
    data: Dataset,
    policy: TrialPolicy,
    session: str,
    callbacks: Sequence[tune.Callback] = (),
    stopper: tune.Stopper | None = None,
) -> tune.Tuner:
    """Build the Tuner of one driver session.

    Args:
        steering: State of the driver; checkpoints are written under its ``storage``.
        data: Data set to train on.
        policy: Resources and limits of the trials.
        session: Name of this session's folder, which keeps the checkpoints of earlier sessions from being overwritten.
        callbacks: Callbacks such as the progress display.
        stopper: Stopper that ends the session even if no trial can run; None to wait.
    """
    patch_tune()
    trainable: Callable[..., None] = tune.with_parameters(
        run_trial,
        data=data,
        objective=steering.objective,
        storage=steering.storage,
        timeout_s=policy.timeout_s,
        requirements=policy.requirements,
        devices=policy.devices,
    )
    return tune.Tuner(
        tune.with_resources(trainable, tune.PlacementGroupFactory([policy.resources.bundle()])),
        tune_config=tune.TuneConfig(
            search_alg=StudySearcher(steering),
            scheduler=StudyScheduler(steering),
            num_samples=-1,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.config["folder"],
        ),
        run_config=tune.RunConfig(
            name=session,
            storage_path=steering.storage,
            verbose=0,
            stop=stopper,
            failure_config=tune.FailureConfig(max_failures=policy.max_failures),
            callbacks=[DroppedTrials(steering), *callbacks],
            # Ray keeps the last checkpoint, and the one of the highest rank: the best epoch (worker/steps.py).
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1, checkpoint_score_attribute=CHECKPOINT_RANK),
        ),
    )


def fit(tuner: tune.Tuner) -> None:
    """Run a Tuner, then restore the signal handlers that it has replaced.

    Tune restores them only when a signal comes, so it would ignore the first Ctrl-C after the training.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1)}
    try:
        tuner.fit()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
