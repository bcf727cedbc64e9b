"""From the parameters of ``tune-run`` to the options of a search."""

import math
from typing import TYPE_CHECKING, Any

from trainables.core.errors import UserError
from tuning.cli.options.data_options import label_table, parse_slicing, parse_window
from tuning.cli.options.ensemble_options import decision_rules
from tuning.cli.options.record_options import study_texts

if TYPE_CHECKING:
    from search_spaces.space import SearchSpace
    from trainables.core.metric_names import Objective
    from tuning.search.options import SearchOptions


def search_options(space: "SearchSpace", params: dict[str, Any]) -> "SearchOptions":
    """Build the options of a search from the command's parameters. Most have the same name and value."""
    objective = _objective(params["metric"] or [space.metric])
    from tuning.search.options import HANG_S, SearchOptions  # heavy imports come after the cheap checks
    from tuning.search.saved_options import to_save

    given = to_save(params)
    labels = params.pop("labels")
    slicing = parse_slicing(params.pop("axis"), params.pop("slices"))
    columns = {role: params.pop(f"{role}_column") for role in ("image", "label", "split")}
    not_options = {"list_spaces", "dry_run", "backbone", "metric", "time_budget", "trial_timeout"}
    not_options |= {"operating_point", "coverage", "study"}
    options = {name: value for name, value in params.items() if name not in not_options}
    options |= {
        "space": space,
        "backbones": tuple(params["backbone"] or ()),
        "warm_start": tuple(params["warm_start"] or ()),
        "objective": objective,
        "window": parse_window(params["window"]),
        "slicing": slicing,
        "table": label_table(labels, space.table, **columns),
        "time_budget_s": math.inf if params["time_budget"] is None else params["time_budget"],
        "trial_timeout_s": HANG_S if params["trial_timeout"] is None else params["trial_timeout"],
        "tta": params["tta"] and str(params["tta"]),
        "decisions": decision_rules(params["operating_point"], params["coverage"]),
        "split": str(params["split"]),
        "study_texts": study_texts(params["study"]),
        "given": given,
    }
    return SearchOptions(**options)


def _objective(metrics: list[str]) -> "Objective":
    from trainables.core.metric_names import LATENCY, Objective

    if len(set(metrics)) < len(metrics) or len(metrics) > 2:
        raise UserError(f"--metric must be given once, or twice with different names, but got {', '.join(metrics)}")
    if metrics[0] == LATENCY:
        raise UserError(f"{LATENCY} can only be the second --metric: give the metric that makes a good model first")
    return Objective(*metrics)
