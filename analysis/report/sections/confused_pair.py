"""The two classes that the ensemble confuses most, with the images that it confused."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.report.inputs import EnsembleInputs, SearchInputs
from analysis.report.page import Example, Gallery
from analysis.report.thumbnails import data_uri

_SHOWN = 6  # in each direction
_TITLE = "The most confused classes"


def most_confused(confusion: Sequence[Sequence[int]]) -> tuple[int, int] | None:
    """Find the pair of classes with the largest share of images taken for the other, averaged over both directions.

    Args:
        confusion: (C, C) counts, true classes in rows.

    Returns:
        Two classes in ascending order, the first pair of equals; None if no image was misclassified.
    """
    counts = np.asarray(confusion)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    both = np.triu(share + share.T, 1)
    if not both.any():
        return None
    first, second = np.unravel_index(both.argmax(), both.shape)
    return int(first), int(second)


def confused_pair(search: SearchInputs, ensemble: EnsembleInputs) -> Gallery:
    """Show the test images that the ensemble confused between its most confused pair of classes."""
    names, counts = search.data.class_names, ensemble.evaluation.ensemble.confusion
    pair = most_confused(counts)
    how_to_read = "Test images that the ensemble assigned to the other class, most confident mistakes first."
    if pair is None:
        return Gallery(_TITLE, how_to_read, "", (), "The ensemble classified all test images correctly.")
    if ensemble.test_predictions is None:
        missing = f"The predictions on test are missing: {ensemble.why_no_predictions}."
        return Gallery(_TITLE, how_to_read, "", (), missing)
    probabilities = ensemble.chosen.comparison.combination.apply(ensemble.test_predictions)
    directions = (pair, pair[::-1])
    mistakes = " and ".join(
        f"{counts[true][predicted]} of {sum(counts[true])} images of {names[true]} were predicted as {names[predicted]}"
        for true, predicted in directions
    )
    caveat = f"{mistakes}. At most {_SHOWN} of each are shown, so this is not a representative sample."
    examples = [
        example for direction in directions for example in _examples(search, ensemble, probabilities, direction)
    ]
    return Gallery(_TITLE, how_to_read, caveat, examples)


def _examples(
    search: SearchInputs, ensemble: EnsembleInputs, probabilities: NDArray[np.floating], direction: tuple[int, int]
) -> list[Example]:
    """Return the most confident mistakes from the first class of ``direction`` to the second."""
    data, (true, predicted) = search.data, direction
    test = data.splits["test"]
    mistakes = np.flatnonzero((data.labels[test] == true) & (probabilities.argmax(axis=1) == predicted))
    most_confident = mistakes[np.argsort(-probabilities[mistakes, predicted], kind="stable")][:_SHOWN]
    pixels = data.images(ensemble.best_trial.config["image_size"])
    examples = []
    for position in most_confident.tolist():
        index = int(test[position])
        lines = [
            f"true class {data.class_names[true]}",
            f"predicted {data.class_names[predicted]} ({probabilities[position, predicted]:.2f})",
        ]
        if len(search.file_names):
            lines.append(search.file_names[index])
        examples.append(Example([(data_uri(pixels[index]), "test image")], lines, flagged=True))
    return examples
