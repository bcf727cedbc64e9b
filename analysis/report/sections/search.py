"""The parts of a report that tell of the search; what test scores tell is in ``score_sections``."""

import math
from collections.abc import Sequence
from functools import partial
from statistics import median

from analysis.report.figures.parameters import (
    FEW_TRIALS,
    completed_trials,
    importance,
    parallel_coordinates,
    shown_params,
    slices,
)
from analysis.report.figures.trials import best_value, learning_curves, panel, recipes
from analysis.report.inputs import Search
from analysis.report.page import Section, Table, Text
from analysis.trials import PRUNED, TrialRecord

_LEADERS = 20
_STOPPED = {PRUNED: "rung"}


def leaderboard(search: Search, members: Sequence[int]) -> Section:
    """The best trials, with what one picks by."""
    leaders = search.ranked[:_LEADERS]
    varied = _varied_params(leaders)
    beside, told = ("iou", "IoU") if search.data.mask_format else ("macro_f1", "macro F1")
    rows = []
    for rank, record in enumerate(leaders, 1):
        metrics = record.epochs[-1].metrics
        rows.append(
            [
                str(rank),
                f"trial {record.number}{', member' * (record.number in members)}",
                _state(record),
                number(best_value(record, search.metric)),
                number(metrics.get(f"best_{beside}")),
                str(int(metrics.get("best_epoch", 0))),
                str(len(record.epochs)),
                number(epoch_seconds(record), 2),
                *(_cell(record.params.get(name)) for name in varied),
            ]
        )
    more = len(search.ranked) - len(leaders)
    reading = (
        f"Trials by their best epoch, members of the ensemble in bold{f'; {more} more are not shown' if more else ''}. "
        + _steering(search)
    )
    headings = ("", "trial", "state", f"best {search.metric}", told, "best epoch", "epochs", "s/epoch", *varied)
    failed = [[str(record.number), record.failures[-1]] for record in search.records if record.failures]
    blocks = [
        Table("", reading, headings, rows, [at for at, record in enumerate(leaders) if record.number in members]),
        *([Table("Errors", "The last error of each trial that met one.", ("trial", "error"), failed)] * bool(failed)),
    ]
    return Section("Leaderboard", "leaderboard", blocks)


def curves(search: Search, members: Sequence[int]) -> Section:
    """Learning curves and rungs."""
    stopped = sum(record.state == "PRUNED" for record in search.records)
    at = f"at epoch{'s' * (len(search.rungs) > 1)} {', '.join(map(str, search.rungs))}" if search.rungs else "never"
    draw = partial(learning_curves, search.records, search.metric, search.rungs, members)
    return Section(
        "Learning curves",
        "curves",
        [
            panel(
                "",
                "A line a trial: coloured for members of the ensemble, dotted where it was stopped early. At a rung "
                "the better third goes on.",
                f"{len(search.records)} trials, one run each, so the spread between seeds is not in it; trials were "
                f"compared {at}, and {stopped} stopped early. {_steering(search)}",
                draw,
            )
        ],
    )


def parameters(search: Search) -> Section:
    """What mattered."""
    study, count = search.study, len(completed_trials(search.study))
    few = " So few trials give hints, no findings." if count < FEW_TRIALS else ""
    caveat = f"From the {count} trials that ran in full, {search.metric} on tune.{few}"
    width = 110 * shown_params(study)
    return Section(
        "What mattered",
        "parameters",
        [
            panel(
                "Hyperparameter importance",
                "The longer a bar, the more of the difference between good trials and all trials is a matter of this "
                "parameter (PED-ANOVA).",
                f"{caveat} The search looked more where it was good, which the estimate does not correct for; it has "
                "no interval.",
                partial(importance, study),
            ),
            panel(
                "Parallel coordinates",
                "A line a trial, from its score on the left through its parameters: the better, the bluer; amber is "
                "worst.",
                f"{caveat} The parameters that matter most, of those that every one has; {count} lines.",
                partial(parallel_coordinates, study, search.metric),
                width,
            ),
            panel(
                "Slices",
                "The score by each parameter, a point a trial: blue ones came later, amber ones earlier.",
                f"{caveat} Other parameters vary along with the one shown.",
                partial(slices, study, search.metric),
                width + 160,
            ),
        ],
    )


def found(search: Search) -> Section:
    """Recipes against what the search found."""
    given = [record for record in search.ranked if record.number in search.recipes]
    searched = [record for record in search.ranked if record.number not in search.recipes]
    figure = panel(
        "",
        "Each trial's best score in the order in which they began: diamonds are the space's recipes, circles what "
        "the search chose; open ones were stopped early.",
        f"{len(given)} recipes and {len(searched)} searched trials that reported, one run each. {_steering(search)} "
        "The more trials a side has, the luckier its best one.",
        partial(recipes, search.records, search.recipes, search.metric),
    )
    if not given or not searched:
        absent = "recipe" if not given else "searched trial"
        return Section("Recipes and search", "recipes", [figure, Text("", [f"There is no {absent} to compare with."])])
    best = (given[0], searched[0])
    names = dict.fromkeys(name for record in best for name in record.params)
    rows = [[f"best {search.metric}", *(number(best_value(record, search.metric)) for record in best)]]
    rows += [[name, *(_cell(record.params.get(name)) for record in best)] for name in names]
    differ = [at for at, row in enumerate(rows) if at and row[1] != row[2]]
    headings = (
        "parameter",
        *(f"{kind}: trial {record.number}" for kind, record in zip(("recipe", "searched"), best, strict=True)),
    )
    table = Table(
        "The best of each", "What differs is in bold; empty cells were not asked for.", headings, rows, differ
    )
    return Section("Recipes and search", "recipes", [figure, table])


def usage(model: str | None, outcome: str) -> Section:
    """How to load the model."""
    if model is None:
        return Section("How to load the model", "load", [Text("", [outcome])])
    code = (
        f"tune-predict {model} IMAGES --out predictions.csv\n"
        f"mlflow models serve -m {model} --env-manager local\n\n"
        "# Python; it runs the code that is stored with the model\n"
        "import mlflow, pandas as pd\n"
        f'model = mlflow.pyfunc.load_model("{model}")\n'
        'model.predict(pd.DataFrame({"image": [open("scan.jpg", "rb").read()]}))'
    )
    return Section("How to load the model", "load", [Text("", [outcome], code)])


def number(value: float | None, digits: int = 4) -> str:
    """A figure as text; empty where there is none."""
    return "" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def leaks(search: Search) -> str:
    """What must be said beside every test score, where the test split leaks."""
    return sentence(search.data.leak) if search.data.leak else ""


def sentence(text: str) -> str:
    """A note as a sentence."""
    return f"{text[0].upper()}{text[1:]}."


def epoch_seconds(record: TrialRecord) -> float | None:
    """The median time of an epoch."""
    times = [epoch.metrics["epoch_seconds"] for epoch in record.epochs if "epoch_seconds" in epoch.metrics]
    return median(times) if times else None


def _varied_params(records: Sequence[TrialRecord]) -> list[str]:
    """The parameters in which these trials differ, in the order in which they were asked for."""
    names = dict.fromkeys(name for record in records for name in record.params)
    return [name for name in names if len({repr(record.params.get(name)) for record in records}) > 1]


def _state(record: TrialRecord) -> str:
    told = {
        "COMPLETE": "finished",
        "PRUNED": f"stopped ({_STOPPED.get(record.stopped or '', record.stopped)})",
        "FAIL": "failed",
        "RUNNING": "running",
    }
    return told.get(record.state, record.state.lower())


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _steering(search: Search) -> str:
    """What trials' scores are of."""
    data = search.data
    images = len(data.splits[data.training if data.folds else "tune"])
    return (
        f"Scores are on {data.steering_told} ({images} images), which steer the search, and so are a little too good."
    )
