"""The two classes that are taken for each other most, with the images that were."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.report.inputs import Ensemble, Search
from analysis.report.page import Gallery, Shot
from analysis.report.thumbnails import inline

_SHOWN = 6  # of each direction
_TITLE = "The classes taken for each other most"


def most_confused(confusion: Sequence[Sequence[int]]) -> tuple[int, int] | None:
    """The pair of classes of which the largest share, averaged over the two, was taken for the other.

    Args:
        confusion: (C, C) counts, true classes in rows.

    Returns:
        Two classes in order, the first of equal pairs; None where no class was taken for another.
    """
    counts = np.asarray(confusion)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    both = np.triu(share + share.T, 1)
    if not both.any():
        return None
    first, second = np.unravel_index(both.argmax(), both.shape)
    return int(first), int(second)


def confused_pair(search: Search, ensemble: Ensemble) -> Gallery:
    """The images of test by which the ensemble mixes up its most confused pair."""
    names, counts = search.data.class_names, ensemble.evaluation.ensemble.confusion
    pair = most_confused(counts)
    reading = "Images of test that the ensemble took for the other class, the surest mistakes of each kind first."
    if pair is None:
        return Gallery(_TITLE, reading, "", (), "The ensemble took no image of test for another class.")
    if ensemble.on_test is None:
        why = f"There are no images: it needs the predictions of test: {ensemble.why_none}."
        return Gallery(_TITLE, reading, "", (), why)
    probabilities = ensemble.comparison.combination.apply(ensemble.on_test)
    kinds = (pair, pair[::-1])
    told = " and ".join(
        f"{counts[true][taken]} of {sum(counts[true])} images of {names[true]} were taken for {names[taken]}"
        for true, taken in kinds
    )
    caveat = f"{told}; at most {_SHOWN} of each are shown. Mistakes are examples, not a sample."
    return Gallery(
        _TITLE, reading, caveat, [shot for kind in kinds for shot in _shots(search, ensemble, probabilities, kind)]
    )


def _shots(
    search: Search, ensemble: Ensemble, probabilities: NDArray[np.floating], kind: tuple[int, int]
) -> list[Shot]:
    data, (true, taken) = search.data, kind
    test = data.splits["test"]
    mistaken = np.flatnonzero((data.labels[test] == true) & (probabilities.argmax(axis=1) == taken))
    surest = mistaken[np.argsort(-probabilities[mistaken, taken], kind="stable")][:_SHOWN]
    pixels = data.images(ensemble.members[ensemble.best].config["image_size"])
    shots = []
    for position in surest.tolist():
        index = int(test[position])
        lines = [
            f"is {data.class_names[true]}",
            f"taken for {data.class_names[taken]} ({probabilities[position, taken]:.2f})",
        ]
        if len(search.names):
            lines.append(search.names[index])
        shots.append(Shot([(inline(pixels[index]), "an image of test")], lines, bad=True))
    return shots
