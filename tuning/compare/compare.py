"""Comparison of two ensembles on the test images that both have."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from trainables.core.errors import UserError
from trainables.core.plural import plural
from tuning.compare.contenders import Contender, Places, open_contender
from tuning.compare.differences import show_differences
from tuning.compare.joint_groups import joint_groups, notes_on_groups
from tuning.console import EXIT_OK, say, say_notes

_REMINDER = "choosing by these figures uses the test set to choose: confirm the choice on images that neither has seen"


def compare(first: str, second: str, places: Places, console: Console) -> int:
    """Print the scores of two ensembles on the same images, and their differences.

    Returns:
        0.

    Raises:
        UserError: One does not exist, or they have no test image in common.
    """
    return compare_contenders([open_contender(name, places, console) for name in (first, second)], console)


def compare_contenders(contenders: Sequence[Contender], console: Console) -> int:
    """Print the scores of two opened ensembles on the same images, and their differences (see ``compare``)."""
    rows = shared_test_images(*contenders)
    one, other = (contender.data for contender in contenders)
    groups, notes = joint_groups(one, other)[rows], notes_on_groups(one, other, rows)
    for letter, contender in zip("AB", contenders, strict=True):
        say(console, f"{letter} is {contender.describe()}.")
    counts = [len(contender.data.splits["test"]) for contender in contenders]
    if counts == [len(rows)] * 2:
        say(console, f"Both were tested on the same {plural(len(rows), 'image')}.")
    else:
        say(console, f"Their test sets differ: {counts[0]} and {plural(counts[1], 'image')}; {len(rows)} in both.")
    compared = [contender.on(rows, groups) for contender in contenders]
    with console.status("computing intervals"):
        left_out = show_differences(compared, contenders[0].metric, console)
    say_notes(console, [*left_out, *notes, _REMINDER])
    return EXIT_OK


def shared_test_images(first: Contender, second: Contender) -> NDArray[np.int64]:
    """Return the indices of the images that are in both test sets.

    Raises:
        UserError: There are none, or the data sets differ.
    """
    one, other = first.data, second.data
    if one.fingerprint != other.fingerprint or one.class_names != other.class_names:
        raise UserError(
            f"A and B must have been tested on the same data, but {first.name} has {one.place} and {second.name} has "
            f"{other.place}: compare them on labelled images that neither has seen, with --data"
        )
    shared = np.intersect1d(one.splits["test"], other.splits["test"])
    if not len(shared):
        raise UserError(f"A and B must have test images in common, but {first.name} and {second.name} have none")
    return shared
