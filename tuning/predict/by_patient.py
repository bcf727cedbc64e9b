"""Predictions of patients from those of their images."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from trainables.core.data.source import numbered
from trainables.core.plural import plural
from trainables.core.serving.ensembles.base import Ensemble, Prediction
from trainables.core.serving.score_images import ScoredImage


@dataclass(frozen=True, eq=False)
class ScoredPatient:
    """Prediction for a patient.

    Attributes:
        row: The prediction, with the patient's name and the images that could not be scored as error.
        images: Number of images.
        first_image: Name of the first image.
    """

    row: ScoredImage
    images: int
    first_image: str


def by_patient(ensemble: Ensemble, rows: Iterable[ScoredImage], patients: Sequence[str]) -> Iterator[ScoredPatient]:
    """Combine the predictions for images to one per patient, in the order of their first images.

    Args:
        ensemble: Model that made the predictions.
        rows: Predictions of N images.
        patients: Patients of the N images.

    Raises:
        DataError: The model has no results per patient.
    """
    images_of: dict[str, list[ScoredImage]] = {}
    for row, patient in zip(rows, patients, strict=True):
        images_of.setdefault(patient, []).append(row)
    scored = [(patient, row) for patient, images in images_of.items() for row in images if not row.error]
    predictions = [
        Prediction(probabilities=row.probabilities, unlike=row.unlike, unlike_score=row.unlike_score)
        for _, row in scored
    ]
    names = [patient for patient, _ in scored]
    of_patients = ensemble.combine_patients(predictions, numbered(names)) if scored else []
    combined = dict(zip(dict.fromkeys(names), of_patients, strict=True))
    for patient, images in images_of.items():
        failed = [f"{row.name}: {row.error}" for row in images if row.error]
        error = f"{len(failed)} of {plural(len(images), 'image')} not scored: {'; '.join(failed)}" if failed else ""
        prediction = combined.get(patient, Prediction())
        row = ScoredImage(patient, error=error, **vars(prediction))
        yield ScoredPatient(row, len(images), images[0].name)
