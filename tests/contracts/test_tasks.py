"""Contract of every task: whatever depends on the task has an entry for each, and data of a task reach it."""

import dataclasses

import numpy as np
import pytest

from analysis.ensembles.tasks.choose import TASKS as RESULTS
from analysis.report.task_sections import sections_of_task
from docs.hooks.config_keys import MEANINGS
from search_spaces.space import DEFAULT_METRICS, SearchSpace
from trainables.core.config import CONFIGS
from trainables.core.data.source import MaskFormat
from trainables.core.models.networks.build import NETWORKS
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.ensemble import ENSEMBLES
from trainables.core.serving.ensembles.base import Ensemble
from trainables.core.training.tasks.registry import TASKS
from trainables.worker.member_scorers import member_scorer
from tuning.report.inspect_members import INSPECTIONS
from tuning.search.tasks import TASKS as SEARCHES


@pytest.fixture
def data_of(small_data, labelled_data):
    """A data set for each task."""
    masked = dataclasses.replace(small_data, mask_format=MaskFormat(("lung",), {0: 0, 255: 1}))
    return {data.task: data for data in (small_data, labelled_data, masked)}


@pytest.mark.parametrize(
    "registry",
    [TASKS, NETWORKS, ENSEMBLES, RESULTS, SEARCHES, INSPECTIONS, DEFAULT_METRICS],
    ids=["training", "networks", "serving", "results", "search", "inspection", "metrics"],
)
def test_every_room_knows_every_task(registry):
    assert registry.keys() == CONFIGS.keys()


@pytest.mark.parametrize("task", CONFIGS)
def test_a_space_without_a_metric_has_one_that_its_task_knows(task, data_of):
    def metric(**fields):
        return SearchSpace("mine", "my own", lambda *_: {}, ("scratch_cnn",), "phantoms", task=task, **fields).metric

    SEARCHES[task].check_metric_name(metric())
    SEARCHES[task].check_metric(metric(), data_of[task])
    assert metric(metric="log_loss") == "log_loss"


def test_keys_of_every_task_are_documented():
    assert MEANINGS.keys() == {"shared", *CONFIGS}


def test_data_of_every_task_can_be_scored_and_reported(data_of):
    assert data_of.keys() == CONFIGS.keys()
    for task, data in data_of.items():
        assert RESULTS[task](data).task == task
        assert not member_scorer(data).__abstractmethods__
        assert str(len(data.labels)) in sections_of_task(data).describe_images(data)


@pytest.mark.parametrize("task", CONFIGS)
def test_a_served_ensemble_names_its_answers(task):
    ensemble = ENSEMBLES[task]
    assert issubclass(ensemble, Ensemble) and not ensemble.__abstractmethods__
    assert ensemble.answer_heading
    columns = RESULTS[task].output_columns(("one", "two"), Combination.of(np.ones(1)))
    assert (ensemble.answer_heading in columns) == (task != "classification")  # whose frame has probabilities only
