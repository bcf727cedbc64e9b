"""Classes of new data, matched by name to those of a model."""

import difflib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.source import MaskFormat
from trainables.core.errors import UserError


def parse_names(pairs: Sequence[str]) -> dict[str, str]:
    """Return new class names and the model's names for them, from ``NEW=OLD`` texts.

    Raises:
        UserError: A text has no ``=`` or an empty side, or names a new class twice.
    """
    names: dict[str, str] = {}
    for pair in pairs:
        new, equals, old = (part.strip() for part in pair.partition("="))
        if not (new and equals and old):
            raise UserError(f"--map must be NEW=OLD, such as 'TB=tuberculosis', but got {pair!r}")
        if names.setdefault(new, old) != old:
            raise UserError(f"--map must name each class once, but maps {new!r} to {names[new]!r} and {old!r}")
    return names


def model_classes(new: Sequence[str], of_model: Sequence[str], names: Mapping[str, str]) -> NDArray[np.int64]:
    """Return the (C,) position among the model's classes of each of C new ones.

    Args:
        new: Names of the new classes.
        of_model: Names of the model's classes.
        names: The user's names of the model for new classes.

    Raises:
        UserError: A class is unknown to the model, or ``names`` has a class that neither side knows.
    """
    for one, known in names.items():
        if one not in new:
            raise UserError(f"--map must name classes of DATA ({', '.join(new)}), but got {one!r}")
        if known not in of_model:
            raise UserError(f"--map must give classes of the model ({', '.join(of_model)}), but got {known!r}")
    found = [names.get(name, name) for name in new]
    unknown = [name for name in found if name not in of_model]
    if unknown:
        nearest = _nearest(unknown[0], of_model)
        raise UserError(
            f"each class must be one of the model's ({', '.join(of_model)}), but DATA has {', '.join(unknown)}: "
            f"if {unknown[0]!r} means {nearest!r}, add --map {unknown[0]!r}={nearest!r}; else leave its images out"
        )
    return np.array([of_model.index(name) for name in found], dtype=np.int64)


def _nearest(name: str, of_model: Sequence[str]) -> str:
    """Return the model's class whose name is most similar."""
    alike = [difflib.SequenceMatcher(None, name.casefold(), other.casefold()).ratio() for other in of_model]
    return of_model[int(np.argmax(alike))]


def in_model_classes(
    labels: NDArray[np.int64], positions: NDArray[np.int64], classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return labels in the model's classes, and the positions of the classes that can be scored.

    Args:
        labels: (N,) new classes, or (N, C) new labels, whose duplicates by name are joined.
        positions: Result of ``model_classes``.
        classes: Number of the model's classes.

    Returns:
        (N,) classes of the model, and all positions. Or (N, K) labels, and their K positions, since the truth of
        labels that the new data lack is unknown.
    """
    if labels.ndim == 1:
        return np.where(labels < 0, labels, positions[labels]), np.arange(classes)
    kept = np.unique(positions)
    return np.stack([labels[:, positions == position].max(axis=1) for position in kept], axis=1), kept


def masks_in_model_classes(
    mask_format: MaskFormat, positions: NDArray[np.int64], of_model: Sequence[str]
) -> tuple[MaskFormat, NDArray[np.int64]]:
    """Return the meaning of the values of masks in those of the model's classes that the masks have.

    A class that the masks lack may be present in the images without being drawn, so it cannot be scored.

    Args:
        mask_format: Meaning of the values in the new classes.
        positions: Result of ``model_classes``.
        of_model: Names of the model's classes.

    Returns:
        The meaning in K classes, and the (K,) positions of these among the model's.
    """
    kept = np.unique(positions)
    places = [0, *(1 + np.searchsorted(kept, positions)).tolist()]
    classes = {value: places[place] for value, place in mask_format.classes.items()}
    return MaskFormat(tuple(of_model[position] for position in kept), classes), kept
