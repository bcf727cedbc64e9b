import pytest
import torch

from trainables.core.config import CONFIGS
from trainables.core.training.tasks.classification import Classification
from trainables.core.training.tasks.registry import TASKS, build_task


def test_every_configuration_has_a_task():
    assert TASKS.keys() == CONFIGS.keys()


def test_the_configuration_selects_the_task(config, small_data):
    assert isinstance(build_task(config(), small_data, torch.device("cpu")), Classification)


@pytest.mark.parametrize("task", TASKS.values())
def test_a_task_implements_the_interface(task):
    assert not task.__abstractmethods__
