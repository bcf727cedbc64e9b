"""The rule that says when more trials of a search are unlikely to help.

On recorded learning curves it saves two fifths of a long search, and the difference in the result is within chance
(``benchmarks/curves/README.md``).
"""

from datetime import datetime

import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState

LEAST, PATIENCE = 20, 10


def convergence(study: optuna.Study, metric: str, least: int = LEAST, patience: int = PATIENCE) -> str | None:
    """Return why more trials are unlikely to help, or None as long as they may.

    Only trials that ran in full count: those that were stopped early say little about what others can reach.

    Args:
        study: Study of the search.
        metric: Name of its objective.
        least: Number of trials that must have run in full.
        patience: Number of trials since the best one.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < least:
        return None
    by_end = sorted(complete, key=lambda trial: trial.datetime_complete or datetime.max)
    values = [trial.values[0] for trial in by_end]
    best = max(values) if study.direction == StudyDirection.MAXIMIZE else min(values)
    first = values.index(best)
    since = len(values) - 1 - first
    if since < patience:
        return None
    return f"none of the last {since} trials that ran in full beats trial {by_end[first].number} ({metric} {best:.4f})"
