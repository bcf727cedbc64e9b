import dataclasses

import pytest

from trainables.core.config import ClassificationConfig, SegmentationConfig
from tuning.ensemble.model_pages import columns_of


@pytest.mark.parametrize(("kind", "masks"), [(ClassificationConfig, False), (SegmentationConfig, True)])
def test_the_columns_to_sort_by_are_those_of_the_task(kind, masks):
    params = [column.split("`")[1] for column in columns_of("dice", "select", masks) if column.startswith("params.")]
    assert set(params) <= {field.name for field in dataclasses.fields(kind)}
    assert ("architecture" in params) == masks
    assert {"backbone", "lr"} < set(params)


def test_the_objective_is_told_once_and_first():
    columns = columns_of("macro_f1", "oof", masks=False)
    assert columns[:3] == ["metrics.`best_macro_f1`", "metrics.`best_balanced_accuracy`", "metrics.`best_epoch`"]
