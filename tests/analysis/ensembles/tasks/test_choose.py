from dataclasses import replace

from analysis.ensembles.tasks.choose import TASKS, task_results
from analysis.report.task_sections import sections_of_task
from trainables.core.config import CONFIGS
from trainables.core.data.source import MaskFormat


def test_every_task_that_can_be_trained_has_results():
    assert TASKS.keys() == CONFIGS.keys()


def test_the_data_decides_the_task_and_every_task_has_a_report(small_data, labelled_data):
    masked = replace(small_data, mask_format=MaskFormat(("lung",), {0: 0, 255: 1}))
    datasets = small_data, labelled_data, masked
    assert [task_results(data).task for data in datasets] == ["classification", "multi_label", "segmentation"]
    assert len({sections_of_task(data) for data in datasets}) == 3
