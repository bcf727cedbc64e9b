"""Parts of a report that depend on the task."""

from collections.abc import Callable
from dataclasses import dataclass

from analysis.ensembles.tasks.classification import ClassificationResults
from analysis.ensembles.tasks.multi_label import MultiLabelResults
from analysis.ensembles.tasks.segmentation import SegmentationResults
from analysis.report.inputs import EnsembleInputs, Inspection, SearchInputs
from analysis.report.page import Section
from analysis.report.sections.classification_scores import classification_scores
from analysis.report.sections.inspected_member import inspected_member
from analysis.report.sections.label_scores import label_mistakes, label_scores
from analysis.report.sections.segmentation_scores import mask_overlays, segmentation_scores
from trainables.core.data.dataset import Dataset
from trainables.core.plural import plural


@dataclass(frozen=True)
class TaskSections:
    """Parts of a report for one task.

    Attributes:
        kind: The task, as a phrase.
        describe_images: Phrase for the images of a data set.
        scores: Section with the test scores.
        examples: Section with images that show the models at work.
        explanation: How the section ``examples`` explains predictions; empty if it does not.
        examples_title: Title of the section ``examples``.
    """

    kind: str
    describe_images: Callable[[Dataset], str]
    scores: Callable[[SearchInputs, EnsembleInputs], Section]
    examples: Callable[[SearchInputs, EnsembleInputs, Inspection], Section]
    explanation: str
    examples_title: str


def _classes(data: Dataset) -> str:
    return plural(len(data.class_names), "class", "classes")


def _images(data: Dataset) -> str:
    return plural(len(data.labels), "image")


_SECTIONS = {
    ClassificationResults.task: TaskSections(
        "classification of images",
        lambda data: f"{_images(data)} of {_classes(data)}",
        classification_scores,
        inspected_member,
        "Grad-CAM and t-SNE of one network, which were not validated.",
        "What the model sees",
    ),
    MultiLabelResults.task: TaskSections(
        "classification of images that have any number of labels",
        lambda data: f"{_images(data)} with {plural(len(data.class_names), 'label')}",
        label_scores,
        label_mistakes,
        "",
        "Mistakes",
    ),
    SegmentationResults.task: TaskSections(
        "segmentation of images",
        lambda data: f"{_images(data)} with masks of {_classes(data)}",
        segmentation_scores,
        mask_overlays,
        "",
        "Worst and best",
    ),
}


def sections_of_task(data: Dataset) -> TaskSections:
    """Return the parts for the task of a data set."""
    return _SECTIONS[data.task]
