"""Results of the trials: leaderboard, learning curves, and known configurations against the sampler's."""

from collections.abc import Sequence
from functools import partial

from analysis.report.figures.learning_curves import best_scores, learning_curves
from analysis.report.figures.style import draw_panel
from analysis.report.inputs import SearchInputs, best_value
from analysis.report.page import Section, Table, Text
from analysis.report.sections.wording import about_scores, epoch_seconds, number, param_value
from analysis.trials import KNOWN, PRUNED, TrialRecord, network_of
from trainables.core.metric_names import METRICS
from trainables.core.plural import plural

_LEADERS = 20
_COLUMNS = 5  # trials whose hyperparameters are compared
_STOP_REASONS = {PRUNED: "rung"}


def leaderboard(search: SearchInputs, members: Sequence[int]) -> Section:
    """List the best trials with their scores and hyperparameters, and the errors of failed ones.

    Args:
        search: The search.
        members: Numbers of the trials in the ensemble.
    """
    leaders = search.ranked[:_LEADERS]
    others = [metric for metric in METRICS if _is_reported(metric.name, search.metric, leaders)]
    names = [f"trial {record.number}{', member' * (record.number in members)}" for record in leaders]
    scores = [number(best_value(record, search.metric)) for record in leaders]
    rows = [
        [
            name,
            score,
            network_of(record),
            record.origin,
            _state(record),
            *(number(best_value(record, metric.name)) for metric in others),
            *([] if search.data.folds else [str(int(record.epochs[-1].metrics.get("best_epoch", 0)))]),
            str(len(record.epochs)),
            number(epoch_seconds(record), 2),
        ]
        for name, score, record in zip(names, scores, leaders, strict=True)
    ]
    best = f"best {search.metric}"
    headings = ("trial", best, "network", "origin", "state", *(metric.label for metric in others))
    headings += (*([] if search.data.folds else ["best epoch"]), f"{search.unit}s", "s/epoch")
    hidden = len(search.ranked) - len(leaders)
    not_shown = f" Not shown: {plural(hidden, 'more trial')}." if hidden else ""
    how_to_read = (
        f"Trials ranked by the objective{'' if search.data.folds else ' at their best epoch'}. Members of the ensemble "
        f"are in bold. The origin says who chose the hyperparameters.{not_shown} {about_scores(search)}"
    )
    bold = [position for position, record in enumerate(leaders) if record.number in members]
    failed = [[str(record.number), record.failures[-1]] for record in search.records if record.failures]
    errors = Table("Errors", "The last error of each trial that had one.", ("trial", "error"), failed)
    blocks = [Table("", how_to_read, headings, rows, bold)]
    shown = leaders[:_COLUMNS]
    if varying := _varying_params(shown):
        params = [[best, *scores[:_COLUMNS]]]
        params += [[param, *(param_value(record.params.get(param)) for record in shown)] for param in varying]
        how_to_read = f"The parameters in which the best {len(shown)} trials differ."
        blocks.append(Table("Hyperparameters", how_to_read, ("parameter", *names[:_COLUMNS]), params, [0]))
    return Section("Leaderboard", "leaderboard", [*blocks, *([errors] if failed else [])], folded=True)


def curves(search: SearchInputs, members: Sequence[int]) -> Section:
    """Show the learning curve of every trial, and the rungs.

    Args:
        search: The search.
        members: Numbers of the trials in the ensemble.
    """
    stopped = sum(record.state == "PRUNED" for record in search.records)
    rungs = f"at {search.unit}{'s' * (len(search.rungs) > 1)} {', '.join(map(str, search.rungs))}"
    compared = f"Trials were compared {rungs}" if search.rungs else "Trials were not compared before their end"
    panel = draw_panel(
        "",
        "One line per trial: coloured for members of the ensemble, dotted if the trial was stopped early. At a rung, "
        "a trial continues if it is among the best of those that have reached the rung; the others pause or stop.",
        f"{plural(len(search.records), 'trial')}, one run each, so the variation between random seeds is not shown. "
        f"{compared}; {stopped} stopped early. {about_scores(search)}",
        partial(
            learning_curves,
            search.records,
            search.metric,
            search.data.scored_on,
            search.rungs,
            members,
            search.unit,
        ),
    )
    return Section("Learning curves", "curves", [panel], folded=True)


def origins(search: SearchInputs) -> Section:
    """Compare known configurations, which were tried first, with those that the sampler chose."""
    known = [record for record in search.ranked if record.origin in KNOWN]
    sampled = [record for record in search.ranked if record.origin not in KNOWN]
    panel = draw_panel(
        "",
        "The best score of each trial, in the order in which trials started. Recipes and the portfolio belong to the "
        "search space, and a warm start takes the best trials of earlier searches. The sampler chose the rest, as "
        "mutations of the best trials or by TPE. Open symbols were stopped early.",
        f"{plural(len(known), 'known configuration')} and {plural(len(sampled), 'sampled one')} with scores, one run "
        f"each. {about_scores(search)} The best of many trials is better by chance than the best of few.",
        partial(best_scores, search.records, search.metric, search.data.scored_on),
    )
    if known and sampled:
        block: Table | Text = _comparison(search, known[0], sampled[0])
    else:
        block = Text("", [f"There is no {'sampled trial' if known else 'known configuration'} to compare with."])
    return Section("Known and sampled configurations", "origins", [panel, block], folded=True)


def _comparison(search: SearchInputs, known: TrialRecord, sampled: TrialRecord) -> Table:
    pair = (known, sampled)
    names = dict.fromkeys(name for record in pair for name in record.params)
    rows = [[f"best {search.metric}", *(number(best_value(record, search.metric)) for record in pair)]]
    rows += [[name, *(param_value(record.params.get(name)) for record in pair)] for name in names]
    different = [position for position, row in enumerate(rows) if position and row[1] != row[2]]
    headings = ("parameter", *(f"{record.origin}: trial {record.number}" for record in pair))
    how_to_read = "Differences are in bold. An empty cell is a parameter that the configuration does not have."
    return Table("The best known and the best sampled configuration", how_to_read, headings, rows, different)


def _is_reported(metric: str, objective: str, records: Sequence[TrialRecord]) -> bool:
    return metric != objective and any(best_value(record, metric) is not None for record in records)


def _varying_params(records: Sequence[TrialRecord]) -> list[str]:
    """Return the parameters in which these trials differ, in the order of their suggestion."""
    names = dict.fromkeys(name for record in records for name in record.params)
    return [name for name in names if len({repr(record.params.get(name)) for record in records}) > 1]


def _state(record: TrialRecord) -> str:
    states = {
        "COMPLETE": "finished",
        "PRUNED": f"stopped ({_STOP_REASONS.get(record.stopped or '', record.stopped)})",
        "FAIL": "failed",
        "RUNNING": "unfinished",
    }
    return states.get(record.state, record.state.lower())
