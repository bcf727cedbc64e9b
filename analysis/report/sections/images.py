"""The part of a report that tells what the best member looks at: features in a plane, and heat maps."""

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from analysis.report.embedding import MOST_EMBEDDED, PERPLEXITY, embedded
from analysis.report.figures.scores import Placed, embedded_by_class, embedded_by_mistake
from analysis.report.figures.trials import MissingError, Panel, panel
from analysis.report.inputs import Ensemble, Looked, Search
from analysis.report.page import Block, Gallery, Section, Shot
from analysis.report.sections.scores import about_test
from analysis.report.sections.search import leaks
from analysis.report.thumbnails import heated, inline


def seen(search: Search, ensemble: Ensemble, looked: Looked) -> Section:
    """Features in a plane, and heat maps, of the member that the ensemble was chosen by as the best."""
    best = ensemble.members[ensemble.best]
    introduction = (
        f"Of trial {best.number} ({best.config.get('backbone', '')}), the member that is best on "
        f"{search.data.selection_told}. "
        f"{about_test(search, ensemble)} Its images and predictions are shown after that opening and chose nothing."
    )
    blocks: list[Block] = [*_planes(search, ensemble, looked), _heat(search, ensemble, looked)]
    return Section("What the model sees", "seen", blocks, introduction, leaks(search))


def _planes(search: Search, ensemble: Ensemble, looked: Looked) -> list[Panel]:
    names, sides = search.data.class_names, _sides(search, looked)
    shown = ", ".join(f"{count} of {len(search.data.splits[split])} {split}" for split, count in sides.items())
    caveat = (
        f"{shown or 'No'} images, at most {MOST_EMBEDDED} or what 20 s allow, in proportion to the classes. t-SNE "
        f"(perplexity {PERPLEXITY:g}, seeded) keeps neighbours together: distances between clumps, and their sizes, "
        "mean nothing."
    )
    reading = (
        "A point an image, placed by the features that the head gets: images that the model takes for alike are near."
    )
    try:
        placed, why = _placed(search, ensemble, looked), ""
    except (MissingError, ValueError) as error:
        placed, why = None, f"{error}."
    titles = ("t-SNE of the features, by class", "t-SNE of the features, by mistake")
    readings = (
        f"{reading} Filled points are of test, open ones of {search.data.training}.",
        f"{reading} Red ones it is wrong about.",
    )
    if placed is None:
        return [Panel(title, told, caveat, None, why) for title, told in zip(titles, readings, strict=True)]
    draws = (partial(embedded_by_class, placed, names), partial(embedded_by_mistake, placed, names))
    return [panel(title, told, caveat, draw) for title, told, draw in zip(titles, readings, draws, strict=True)]


def _sides(search: Search, looked: Looked) -> Mapping[str, int]:
    if looked.question is None or looked.answer is None:
        return {}
    in_test = np.isin(looked.question.seen[: len(looked.answer.features)], search.data.splits["test"])
    return {search.data.training: int((~in_test).sum()), "test": int(in_test.sum())}


def _placed(search: Search, ensemble: Ensemble, looked: Looked) -> Placed:
    """The images in the plane; right or wrong by what was kept of ``test``, and by the model itself in training."""
    if looked.question is None or looked.answer is None:
        raise MissingError(f"It needs the member's features: {looked.why_none}")
    if ensemble.on_test is None:
        raise MissingError(f"It needs the predictions of test: {ensemble.why_none}")
    images = looked.question.seen[: len(looked.answer.features)]
    test = search.data.splits["test"]
    in_test = np.isin(images, test)
    predicted = looked.answer.probabilities.argmax(axis=1)
    predicted[in_test] = ensemble.on_test[ensemble.best].argmax(axis=1)[np.searchsorted(test, images[in_test])]
    labels = search.data.labels[images]
    splits = np.where(in_test, "test", search.data.training)
    return Placed(embedded(looked.answer.features), labels, splits, predicted == labels)


def _heat(search: Search, ensemble: Ensemble, looked: Looked) -> Gallery:
    title = "Grad-CAM on right and wrong images"
    reading = (
        "An image of test, and over it what speaks for the class that it was taken for: yellow most, red less. "
        "Mistakes have a red frame."
    )
    answer, question = looked.answer, looked.question
    if answer is None or question is None or answer.maps is None or ensemble.on_test is None:
        why = ensemble.why_none or (answer.why_no_maps if answer else looked.why_none)
        return Gallery(title, reading, "", (), f"There are no heat maps: {why}.")
    grid = " x ".join(map(str, answer.maps.shape[1:]))
    caveat = (
        f"{len(question.mapped)} images, of each class in turn the surest mistakes and the surest hits, not a sample. "
        f"A map has {grid} places, so its edges are not the image's; it shows where, not why, and none of it is proof."
    )
    pixels = search.data.images(ensemble.members[ensemble.best].config["image_size"])
    return Gallery(title, reading, caveat, _shots(search, ensemble, question.mapped, answer.maps, pixels))


def _shots(
    search: Search,
    ensemble: Ensemble,
    mapped: NDArray[np.int64],
    maps: NDArray[np.float32],
    pixels: NDArray[np.uint8],
) -> list[Shot]:
    assert ensemble.on_test is not None
    data = search.data
    on_test = ensemble.on_test[ensemble.best][np.searchsorted(data.splits["test"], mapped)]
    shots = []
    for index, heat, row in zip(mapped.tolist(), maps, on_test, strict=True):
        label, taken = int(data.labels[index]), int(row.argmax())
        lines = [f"is {data.class_names[label]}", f"taken for {data.class_names[taken]} ({row[taken]:.2f})"]
        if len(search.names):
            lines.append(search.names[index])
        if not heat.any():
            lines.append("nothing speaks for it")
        images = [
            (inline(pixels[index]), "an image of test"),
            (inline(heated(pixels[index], heat)), "the same under its heat map"),
        ]
        shots.append(Shot(images, lines, bad=label != taken))
    return shots
