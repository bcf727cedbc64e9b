"""Every use of Ray's private API: changes to Ray 2.60 and Tune, and one function that is not exported.

Each comment says what Ray does, why that is a problem here, why the public way falls short, and which test shows it.
tests/tuning/ray_backend/test_patches.py fails if a new version of Ray no longer has or uses the changed parts.
"""

import shlex
import sys
from typing import Any

from ray._private import ray_constants, utils
from ray._private.node import Node
from ray.air.execution._internal import actor_manager
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.job_config import JobConfig
from ray.tune.execution import class_cache, tune_controller
from ray.tune.execution.experiment_state import _ExperimentCheckpointManager
from ray.tune.experiment import Trial as RayTrial

from trainables.core.redact import without_credentials

_TRIAL_VARIABLES = class_cache.DEFAULT_ENV_VARS
_DRIVER_VARIABLES = class_cache.ENV_VARS_TO_PROPAGATE
_STARTS = {name: getattr(Node, name) for name in ("start_api_server", "start_monitor", "start_log_monitor")}


def patch_ray(*, local_only: bool) -> None:
    """Change Ray in this process. Safe to repeat.

    Args:
        local_only: True if Ray is going to be started here, for this machine only.
    """
    # Ray shows the driver's command line, which may hold passwords, to everyone who can list the cluster's jobs.
    # Public way: `ray.init` has no option for it. Test: tests/security/test_credentials.py.
    utils.get_entrypoint_name = lambda: shlex.join(map(without_credentials, sys.orig_argv))
    # Ray adds the folders of the driver's script and shell to the workers' path, so that workers would import files
    # lying there. Ray omits them if a job has a `working_dir`, so every job claims to have one.
    # Public way: with `runtime_env={"working_dir": EMPTY}`, `ray.init` refuses any driver that was started by
    # `ray job submit --working-dir`. Test: tests/security/test_foreign_code.py.
    JobConfig._runtime_env_has_working_dir = lambda _: True
    # Ray listens on all network interfaces, and anyone who reaches one of its ports can run code.
    # Public way: the variable RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER is read only once, when ray is imported, before it is
    # known whether a cluster will be joined. Test: tests/security/test_ports.py.
    ray_constants.ENABLE_RAY_CLUSTER = not local_only
    # Ray starts three Python processes that do nothing for a search on this machine: the API server, which without the
    # dashboard only sends usage statistics, and which `ray.init` waits for; the autoscaler's monitor; and the monitor
    # that sends the workers' logs to the driver, which does not want them. They take half of the start's CPU time.
    # Public way: `ray.init` has no option for them. Test: tests/tuning/ray_backend/test_local_ray.py.
    for name, start in _STARTS.items():
        setattr(Node, name, _start_nothing if local_only else start)
    # Tune gives each trial environment variables of its own, so that Ray starts a new process for it although idle ones
    # wait. On this machine, these inherit the driver's variables.
    # Public way: Tune has no option for it. Test: tests/tuning/ray_backend/test_local_ray.py.
    class_cache.DEFAULT_ENV_VARS = {} if local_only else _TRIAL_VARIABLES
    # Tune copies the driver's AWS keys into the environment of each trial, and every node logs them. Nodes have their
    # own: a role, or the environment in which Ray was started.
    # Public way: removing the keys from the driver's environment would also take them from the driver's own storage.
    # Test: tests/security/test_credentials.py.
    shared = {name for name in _DRIVER_VARIABLES if not name.startswith("AWS_")}
    class_cache.ENV_VARS_TO_PROPAGATE = set() if local_only else shared


def _start_nothing(node: Node, **options: Any) -> None:
    """Take the place of a function that starts a process of Ray."""


def patch_tune() -> None:
    """Change Tune in this process. Safe to repeat."""
    # If the memory monitor kills a worker, Ray raises an error that Tune's control loop does not know, and the whole
    # search fails. Public way: with RAY_memory_monitor_refresh_ms=0 there is no monitor, but the kernel may then kill
    # any process, even the driver. Test: tests/faults/test_workers.py.
    for module in (actor_manager, tune_controller):
        module.RayActorError = (RayActorError, OutOfMemoryError)
    # Tune saves the state of all trials with every checkpoint of one, which takes half of the driver's time at 300
    # trials and grows; a search is restored from the study instead.
    # Public way: TUNE_GLOBAL_CHECKPOINT_S sets a period, but Tune ignores it if `CheckpointConfig.num_to_keep` is set,
    # and without that no checkpoint is ever deleted. Measured by benchmarks/driver/steering.py.
    _ExperimentCheckpointManager.on_trial_checkpoint = _save_nothing


def _save_nothing(manager: Any, trial: Any) -> None:
    """Leave snapshots to their period, ``TUNE_GLOBAL_CHECKPOINT_S``."""


def forget_failures(trial: RayTrial) -> None:
    """Let Tune count the failures of a trial from now on: it has progressed.

    Ray counts a lost node like an error, unless it has drained the node before, so that a long trial could not outlive
    more spot machines than it has retries. Public way: ``Trial.num_failures`` is read-only, and a larger
    ``max_failures`` would also retry a trial that fails in the same epoch each time.
    Test: tests/faults/test_trials.py.
    """
    trial.run_metadata.num_failures = 0


def running_cluster() -> str | None:
    """Return the address of the cluster that ``ray start`` started on this machine, which ``ray.init`` would join.

    Public way: ``ray.init(address="auto")`` joins such a cluster, but whether there is one must be known earlier:
    code is shipped only to a cluster, and only a Ray that is started here listens to this machine only.
    """
    address: str | None = utils.read_ray_address()
    return address
