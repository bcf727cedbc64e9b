"""The rule that gives a search up when its trials keep failing for the same reason."""

import re

import torch

from analysis.trials import TrialRecord
from trainables.core.errors import ConfigError, NonFiniteLossError

# This many consecutive trials must fail with the same error, without finishing an epoch.
REPEATS = 3
# Errors caused by one configuration. Once a trial has worked, they say nothing about the search as a whole.
_CONFIG_ERRORS = (NonFiniteLossError.__name__, torch.OutOfMemoryError.__name__, ConfigError.__name__)


class RepeatedFailures:
    """Detector of trials that fail alike, one after another.

    Attributes:
        error: Error for which the search should be given up; None as long as there is no reason to.
    """

    def __init__(self) -> None:
        self.error: str | None = None
        self._patterns: list[str] = []
        self._any_trial_worked = False

    def add(self, record: TrialRecord) -> None:
        """Take a trial that has ended into account."""
        if record.epochs or not record.failures:
            self._any_trial_worked, self._patterns = True, []
        elif not (self._any_trial_worked and record.failures[-1].startswith(_CONFIG_ERRORS)):
            # Names and numbers in a message vary with the configuration.
            self._patterns.append(re.sub(r"'[^']*'|[\d.]+", "#", record.failures[-1]))
            if len(self._patterns) >= REPEATS and len(set(self._patterns[-REPEATS:])) == 1:
                self.error = record.failures[-1]
