"""Where Ray 2.60 and its Tune must behave otherwise: what it does, why it may not here, and what shows it."""

import shlex
import sys
from typing import Any

from ray._private import ray_constants, utils
from ray.air.execution._internal import actor_manager
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.job_config import JobConfig
from ray.tune.execution import class_cache, tune_controller
from ray.tune.execution.experiment_state import _ExperimentCheckpointManager

from trainables.core.redact import without_credentials


def patch_ray(*, alone: bool) -> None:
    """Changes Ray in this process; to do so again changes nothing.

    Args:
        alone: Whether Ray is to be started here, for this machine only.
    """
    # Ray tells the driver's command line to all who may see the cluster's jobs (tests/locked/test_credentials.py).
    utils.get_entrypoint_name = lambda: shlex.join(map(without_credentials, sys.orig_argv))
    # Workers would import what lies in the folder that the driver was started in (tests/locked/test_foreign_code.py).
    JobConfig._runtime_env_has_working_dir = lambda _: True
    # Ray would listen on every interface; who reaches a port of its runs what they like (tests/locked/test_ports.py).
    ray_constants.ENABLE_RAY_CLUSTER = not alone


def patch_tune() -> None:
    """Changes Tune in this process; to do so again changes nothing."""
    # Of a worker that the memory monitor has killed, Ray tells by an error that Tune's control loop does not know: the
    # whole search would die with it (tests/faults/test_workers.py).
    for module in (actor_manager, tune_controller):
        module.RayActorError = (RayActorError, OutOfMemoryError)
    # With every checkpoint of a trial Tune would write the state of all trials, which takes half of the driver's time
    # at 300 trials and grows; the study is what a search is restored from (benchmarks/driver.py).
    _ExperimentCheckpointManager.on_trial_checkpoint = _force_no_snapshot
    # Tune would hand the driver's AWS keys to each trial as its environment, which every node's log tells
    # (tests/locked/test_credentials.py). Nodes have their own: a role, or the environment that Ray was started in.
    class_cache.ENV_VARS_TO_PROPAGATE = {
        name for name in class_cache.ENV_VARS_TO_PROPAGATE if not name.startswith("AWS_")
    }


def _force_no_snapshot(manager: Any, trial: Any) -> None:
    """Leaves the snapshot to its period, ``TUNE_GLOBAL_CHECKPOINT_S``."""
