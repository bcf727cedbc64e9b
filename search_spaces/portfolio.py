"""Configurations that together were near the best on four medical data sets, for a search to try first.

``portfolio.json`` is written by ``python -m benchmarks.curves.make_portfolio`` from recorded trials
(benchmarks/curves/README.md). It holds one portfolio from all data sets, under the empty name, and for each data set
one that was chosen without it. ``nearest_params.portfolio_params`` maps it to the backbones and values of a space.
"""

import json
from functools import cache
from pathlib import Path

from search_spaces.space import Params

FILE = Path(__file__).with_suffix(".json")


@cache
def portfolio(without: str = "") -> tuple[Params, ...]:
    """Return the parameters of the portfolio, in the order in which they should be tried.

    Args:
        without: Data set that had no part in the choice: ``alzheimer_mri``, ``chest_xray``, ``tissue`` or ``tb``. A
            space of one of them needs it, because its test images must not have a say in its search.
    """
    return tuple(json.loads(FILE.read_text())[without])
