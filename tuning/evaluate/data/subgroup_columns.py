"""Values of images by which they are divided into subgroups: columns of a table or DICOM tags, numbers in ranges."""

import difflib
from collections.abc import Mapping, Sequence

from analysis.statistics.subgroup_names import UNKNOWN, subgroups_by
from trainables.core.errors import UserError

_MOST_NAMES = 30


def subgroup_names(columns: Mapping[str, Sequence[str]], asked: Sequence[str]) -> dict[str, list[str]]:
    """Return the subgroup of each of N images in each column that was asked for, see ``subgroups_by``.

    Raises:
        UserError: A column does not exist or has too many values.
    """
    for name in asked:
        if name not in columns:
            near = difflib.get_close_matches(name, columns, n=1, cutoff=0.0)
            has = f"has {', '.join(columns)}; did you mean {near[0]!r}?" if columns else "has no further columns"
            rule = "--by must name columns of --labels or --groups, or DICOM tags"
            raise UserError(f"{rule}, but got {name!r}, and DATA {has}")
    found = {name: subgroups_by(name, columns[name]) for name in asked}
    for name, subgroups in found.items():
        if (count := len(set(subgroups) - {UNKNOWN})) > _MOST_NAMES:
            raise UserError(
                f"--by needs columns of at most {_MOST_NAMES} values, but {name!r} has {count}: join them in the table"
            )
    return found
