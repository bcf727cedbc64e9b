"""Grades: classes with an order, such as stages of a disease."""

import dataclasses
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from trainables.core.data.fact import Fact
from trainables.core.errors import DataError

if TYPE_CHECKING:
    from trainables.core.data.dataset import Dataset  # too slow for spaces, which need only the type below

# The class names from the lowest to the highest grade; True: in the order of the numbers in their names; False: no
# grades; None: grades if all names are numbers.
Ordered = bool | tuple[str, ...] | None
_FEWEST = 3  # 0 and 1 are no grades
_HIGHEST = 99  # larger numbers are codes rather than grades


def graded(data: "Dataset", ordered: Ordered) -> "Dataset":
    """Return the data set with its classes in grade order, and a note that says so, if they are grades.

    Groups and splits stay the same. A list counts as None if none of its classes is in the data: it is then for the
    space's own data.

    Raises:
        DataError: The order is unknown or incomplete, or images have masks or several labels.
    """
    names = data.image_classes if data.labels.ndim == 1 else ()  # images with several labels have no grade
    notes = list(data.notes)
    if ordered is True and not names:
        found = "masks" if data.mask_format else "several labels per image"
        raise DataError(f"--ordered needs one class per image, but these data have {found}: leave it out")
    if isinstance(ordered, tuple) and not set(ordered) & set(names):
        notes.append(f"none of the space's grades {', '.join(ordered)} is a class of these data")
        ordered = None
    order = grade_order(names, ordered)
    if order is None:
        return dataclasses.replace(data, notes=tuple(notes))
    why = "because their names are numbers" if ordered is None else "as declared"
    in_order = " < ".join(order)
    notes.append(Fact(f"classes are treated as grades, {why}: {in_order} (tune-run --unordered: without an order)"))
    place = np.array([order.index(name) for name in names])
    return dataclasses.replace(
        data,
        class_names=order,
        labels=np.where(data.labels < 0, -1, place[data.labels]),
        audit=data.audit and data.audit.in_order(order),
        ordered=True,
        notes=tuple(notes),
    )


def grade_order(class_names: Sequence[str], ordered: Ordered) -> tuple[str, ...] | None:
    """Return the class names from the lowest to the highest grade, or None if they are not grades.

    Raises:
        DataError: The order is unknown or incomplete.
    """
    if isinstance(ordered, tuple):
        missing = [name for name in class_names if name not in ordered]
        if missing:
            raise DataError(
                f"ordered must list every class, but {', '.join(ordered)} lacks {', '.join(missing)}: complete it in "
                "the space, or pass --unordered"
            )
        return tuple(name for name in ordered if name in class_names)
    if ordered:
        return _by_number_within(class_names)
    numeric = all(re.fullmatch(r"\d+(\.\d+)?", name) and float(name) <= _HIGHEST for name in class_names)
    if ordered is False or not numeric or len(set(map(float, class_names))) < max(_FEWEST, len(class_names)):
        return None
    return tuple(sorted(class_names, key=float))


def _by_number_within(class_names: Sequence[str]) -> tuple[str, ...]:
    """Sort names by the only number in each, as in ``-1``, ``KL2`` or ``grade_3``."""
    numbers: dict[float, str] = {}
    for name in class_names:
        found = [name] if re.fullmatch(r"-?\d+(\.\d+)?", name) else re.findall(r"\d+(?:\.\d+)?", name)
        if len(found) == 1:
            numbers[float(found[0])] = name
    if len(numbers) < len(class_names):
        raise DataError(
            f"graded classes must each have a number of their own in the name, but these are {', '.join(class_names)}: "
            "list them in the space, as in ordered=('none', 'mild', 'severe')"
        )
    return tuple(numbers[number] for number in sorted(numbers))
