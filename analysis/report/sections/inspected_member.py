"""Inspection of the best classifier: its features embedded in a plane, and Grad-CAM heat maps."""

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from analysis.report.embedding import MOST_EMBEDDED, PERPLEXITY, embed
from analysis.report.figures.embedded_images import EmbeddedImages, scatter_by_class, scatter_by_mistake
from analysis.report.figures.style import NothingToDrawError, draw_panel
from analysis.report.heat_location import HeatLocation, describe_location, is_coarse
from analysis.report.inputs import EnsembleInputs, Inspection, SearchInputs
from analysis.report.page import Block, Example, Gallery, Panel, Section
from analysis.report.sections.wording import about_test, leak_warning
from analysis.report.thumbnails import data_uri, with_heat_map
from trainables.core.plural import plural


def inspected_member(search: SearchInputs, ensemble: EnsembleInputs, inspection: Inspection) -> Section:
    """Show t-SNE embeddings and heat maps of the member that is best on the selection split."""
    best = ensemble.best_trial
    introduction = (
        f"For trial {best.number} ({best.config.get('backbone', '')}), the best member on "
        f"{search.data.chosen_on}. {about_test(search, ensemble)} No choice depends on the test images and predictions "
        "shown here."
    )
    blocks: list[Block] = [
        *_embedding_panels(search, ensemble, inspection),
        _heat_map_gallery(search, ensemble, inspection),
    ]
    return Section("What the model sees", "seen", blocks, introduction, leak_warning(search))


def _embedding_panels(search: SearchInputs, ensemble: EnsembleInputs, inspection: Inspection) -> list[Panel]:
    how_to_read = (
        "Each point is an image, placed by the features that the classification head receives. Images that the model "
        "finds similar are close together."
    )
    readings = {
        "t-SNE of the features, by class": f"{how_to_read} Filled points are test images, open points are "
        f"training images ({search.data.training}).",
        "t-SNE of the features, by mistake": f"{how_to_read} Red points are misclassified.",
    }
    shown = " and ".join(
        f"{count} of {plural(len(search.data.splits[split]), f'{split} image')}"
        for split, count in _images_by_split(search, inspection).items()
    )
    caveat = (
        f"{shown or 'No images'}, at most {MOST_EMBEDDED} or as many as 20 s of computing allow, drawn in proportion "
        f"to split and class. t-SNE (perplexity {PERPLEXITY:g}, fixed seed) preserves neighbourhoods only: distances "
        "between clusters and the sizes of clusters have no meaning."
    )
    try:
        images = _embedded_images(search, ensemble, inspection)
    except (NothingToDrawError, ValueError) as error:
        missing = f"{error}."
        return [Panel(title, reading, caveat, None, missing) for title, reading in readings.items()]
    draws = (partial(scatter_by_class, images), partial(scatter_by_mistake, images))
    return [
        draw_panel(title, reading, caveat, partial(draw, search.data.class_names))
        for (title, reading), draw in zip(readings.items(), draws, strict=True)
    ]


def _images_by_split(search: SearchInputs, inspection: Inspection) -> Mapping[str, int]:
    """Return the number of embedded images of each split."""
    if inspection.request is None or inspection.explanation is None:
        return {}
    images = inspection.request.feature_images[: len(inspection.explanation.features)]
    in_test = np.isin(images, search.data.splits["test"])
    return {search.data.training: int((~in_test).sum()), "test": int(in_test.sum())}


def _embedded_images(search: SearchInputs, ensemble: EnsembleInputs, inspection: Inspection) -> EmbeddedImages:
    """Embed the features. Test images use the saved predictions, training images those made with the features."""
    if inspection.request is None or inspection.explanation is None:
        raise NothingToDrawError(f"The member's features are missing: {inspection.missing}")
    if ensemble.test_predictions is None:
        raise NothingToDrawError(f"The predictions on test are missing: {ensemble.why_no_predictions}")
    explanation, test = inspection.explanation, search.data.splits["test"]
    images = inspection.request.feature_images[: len(explanation.features)]
    in_test = np.isin(images, test)
    predicted = explanation.probabilities.argmax(axis=1)
    saved = ensemble.test_predictions[ensemble.best_member].argmax(axis=1)
    predicted[in_test] = saved[np.searchsorted(test, images[in_test])]
    labels = search.data.labels[images]
    splits = np.where(in_test, "test", search.data.training)
    return EmbeddedImages(embed(explanation.features), labels, splits, predicted == labels)


def _heat_map_gallery(search: SearchInputs, ensemble: EnsembleInputs, inspection: Inspection) -> Gallery:
    title = "Grad-CAM heat maps of mistakes and correct predictions"
    how_to_read = (
        "A test image, and the same image with the regions that speak for the predicted class: yellow most, red less. "
        "Mistakes have a red frame."
    )
    explanation, request = inspection.explanation, inspection.request
    if explanation is None or request is None or explanation.maps is None or ensemble.test_predictions is None:
        reason = ensemble.why_no_predictions or (explanation.why_no_maps if explanation else inspection.missing)
        return Gallery(title, how_to_read, "", (), f"There are no heat maps: {reason}.")
    cells = " x ".join(map(str, explanation.maps.shape[1:]))
    caveat = (
        f"{plural(len(request.map_images), 'image')}: the most confident mistakes and the most confident correct "
        "predictions of each class in turn, not a representative sample. "
        f"A map has only {cells} cells, so its edges do not follow those of the image. It shows where the evidence "
        "lies, not why, and proves nothing."
    )
    how_to_read = f"{how_to_read} {describe_location(explanation.maps)}".rstrip()
    examples = _examples(search, ensemble, request.map_images, explanation.maps)
    return Gallery(title, how_to_read, caveat, examples, scale=("no evidence", "strongest evidence in this image"))


def _examples(
    search: SearchInputs, ensemble: EnsembleInputs, indices: NDArray[np.int64], maps: NDArray[np.float32]
) -> list[Example]:
    assert ensemble.test_predictions is not None
    data = search.data
    pixels = data.images(ensemble.best_trial.config["image_size"])
    predictions = ensemble.test_predictions[ensemble.best_member][np.searchsorted(data.splits["test"], indices)]
    examples = []
    for index, heat, probabilities in zip(indices.tolist(), maps, predictions, strict=True):
        true, predicted = int(data.labels[index]), int(probabilities.argmax())
        lines = [
            f"true class {data.class_names[true]}",
            f"predicted {data.class_names[predicted]} ({probabilities[predicted]:.2f})",
        ]
        if len(search.file_names):
            lines.append(search.file_names[index])
        location = HeatLocation.of(heat[None])
        if location is None:
            lines.append("no region speaks for the class")
        elif location.conspicuous and not is_coarse(heat):
            lines.append(f"heat at the border {location.border:.0%}, in the corners {location.corners:.0%}")
        images = [
            (data_uri(pixels[index]), "test image"),
            (data_uri(with_heat_map(pixels[index], heat)), "test image with its heat map"),
        ]
        examples.append(Example(images, lines, flagged=true != predicted))
    return examples
