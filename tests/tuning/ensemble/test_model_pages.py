import dataclasses

import pytest

from analysis.ensembles.tasks.choose import TASKS
from tests.tuning.ensemble.made_up import METRIC, Inference, find
from trainables.core.config import CONFIGS
from tuning.ensemble.model_pages import sort_columns


@pytest.mark.parametrize("task", TASKS)
def test_the_columns_of_parameters_are_those_of_the_task(study, data, task):
    chosen = find(study, data, Inference(data)).chosen
    columns = sort_columns(chosen, TASKS[task].sort_params)
    params = [column.split("`")[1] for column in columns if column.startswith("params.")]
    assert params == list(TASKS[task].sort_params)
    assert set(params) <= {field.name for field in dataclasses.fields(CONFIGS[task])}


def test_the_objective_comes_first_and_once(study, data):
    chosen = find(study, data, Inference(data)).chosen
    metrics = sort_columns(chosen, ())
    assert metrics == [
        f"metrics.`{name}`"
        for name in (
            f"best_{METRIC}", "best_macro_f1", f"best_patient_{METRIC}", "best_epoch", "epoch_seconds",
            f"select_{METRIC}", f"test_{METRIC}",
        )
    ]  # fmt: skip
