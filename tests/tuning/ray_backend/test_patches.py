"""The private API of Ray that ``patches`` uses: one clear failure when a new version changes it."""

import inspect
from importlib.metadata import version

import pytest
from ray._private import ray_constants, services, utils, worker
from ray._private.node import Node
from ray.air.execution._internal import actor_manager
from ray.job_config import JobConfig
from ray.tune.execution import class_cache, tune_controller
from ray.tune.execution.experiment_state import _ExperimentCheckpointManager
from ray.tune.experiment import Trial

VERSION = f"Ray {version('ray')}"
# Attribute, the code in Ray that uses it, and the source of that use. Without the use, a patch has no effect.
USES = [
    (utils, "get_entrypoint_name", worker.init, "ray._private.utils.get_entrypoint_name()"),
    (utils, "read_ray_address", worker.init, "ray._private.utils.read_ray_address("),
    (JobConfig, "_runtime_env_has_working_dir", worker.connect, "not job_config._runtime_env_has_working_dir()"),
    (ray_constants, "ENABLE_RAY_CLUSTER", services.get_node_ip_address, "not ray_constants.ENABLE_RAY_CLUSTER"),
    (Node, "start_api_server", Node.start_head_processes, "self.start_api_server("),
    (Node, "start_monitor", Node.start_head_processes, "self.start_monitor()"),
    (Node, "start_log_monitor", Node.start_ray_processes, "self.start_log_monitor()"),
    (actor_manager, "RayActorError", actor_manager.RayActorManager, "isinstance(exception, RayActorError)"),
    (tune_controller, "RayActorError", tune_controller.TuneController, "isinstance(exception, RayActorError)"),
    (
        _ExperimentCheckpointManager,
        "on_trial_checkpoint",
        tune_controller.TuneController,
        "self._checkpoint_manager.on_trial_checkpoint(trial)",
    ),
    (Trial, "num_failures", Trial.should_recover, "self.run_metadata.num_failures <= self.max_failures"),
    (class_cache, "DEFAULT_ENV_VARS", class_cache._ActorClassCache.get, "DEFAULT_ENV_VARS.copy()"),
    (class_cache, "ENV_VARS_TO_PROPAGATE", class_cache._ActorClassCache.get, "in ENV_VARS_TO_PROPAGATE:"),
]


@pytest.mark.parametrize(("owner", "name", "user", "use"), USES, ids=[name for _, name, _, _ in USES])
def test_ray_has_and_uses_it(owner, name, user, use):
    where = f"{VERSION}: {owner.__name__}.{name}"
    assert hasattr(owner, name), f"{where} is gone; see tuning/ray_backend/patches.py"
    source = inspect.getsource(inspect.unwrap(user))
    assert use in source, f"{where} is no longer used by {user.__qualname__} as {use!r}"


def test_trial_checkpoints_are_announced_with_their_trial():
    parameters = list(inspect.signature(_ExperimentCheckpointManager.on_trial_checkpoint).parameters)
    assert len(parameters) == 2, f"{VERSION}: on_trial_checkpoint now takes {parameters}; see patches._save_nothing"
