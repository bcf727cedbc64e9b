"""Results objects by task."""

from collections.abc import Mapping

from analysis.ensembles.tasks.base import TaskResults
from analysis.ensembles.tasks.classification import ClassificationResults
from analysis.ensembles.tasks.multi_label import MultiLabelResults
from analysis.ensembles.tasks.segmentation import SegmentationResults
from trainables.core.data.dataset import Dataset

TASKS: Mapping[str, type[TaskResults]] = {
    kind.task: kind for kind in (ClassificationResults, SegmentationResults, MultiLabelResults)
}


def task_results(data: Dataset) -> TaskResults:
    """Return the results object of a data set's task."""
    return TASKS[data.task](data)
