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
        describe_images: Phrase for the images of a data set.
        scores: Section with the test scores.
        examples: Section with images that show the models at work.
        explanation: Content of the section ``examples``, for reviewers who ask how predictions are explained.
        examples_title: Title of the section ``examples``.
    """

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
        lambda data: f"{_images(data)} of {_classes(data)}",
        classification_scores,
        inspected_member,
        "Grad-CAM and t-SNE of one member.",
        "What the model sees",
    ),
    MultiLabelResults.task: TaskSections(
        lambda data: f"{_images(data)} with {plural(len(data.class_names), 'label')}",
        label_scores,
        label_mistakes,
        "Images with mistakes.",
        "Mistakes",
    ),
    SegmentationResults.task: TaskSections(
        lambda data: f"{_images(data)} with masks of {_classes(data)}",
        segmentation_scores,
        mask_overlays,
        "Predicted and true masks on images.",
        "Worst and best",
    ),
}


def sections_of_task(data: Dataset) -> TaskSections:
    """Return the parts for the task of a data set."""
    return _SECTIONS[data.task]
