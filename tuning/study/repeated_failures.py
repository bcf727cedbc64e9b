"""The rule that gives a search up when its trials keep failing for the same reason."""

import re

import torch

from analysis.trials import TrialRecord
from trainables.core.errors import ConfigError, NonFiniteLossError

# This many consecutive trials must fail with the same error, without finishing an epoch.
REPEATS = 3
# Errors caused by one configuration. Once any trial has finished an epoch, they say nothing about the whole search.
_CONFIG_ERRORS = (NonFiniteLossError.__name__, torch.OutOfMemoryError.__name__, ConfigError.__name__)


class RepeatedFailures:
    """Detector of trials that fail alike, one after another."""

    def __init__(self) -> None:
        self._error: str | None = None
        self._patterns: list[str] = []
        self._any_epoch = False

    @property
    def error(self) -> str | None:
        """Error for which the search should be given up; None as long as there is no reason to."""
        return None if self._error is None or self._is_excused(self._error) else self._error

    def saw_epoch(self) -> None:
        """Note that a trial has finished an epoch, now or in an earlier session."""
        self._any_epoch = True

    def add(self, record: TrialRecord) -> None:
        """Take a trial that has ended into account."""
        if record.epochs or not record.failures:
            self._any_epoch, self._patterns = True, []
        elif not self._is_excused(record.failures[-1]):
            # Names and numbers in a message vary with the configuration.
            self._patterns.append(re.sub(r"'[^']*'|[\d.]+", "#", record.failures[-1]))
            if len(self._patterns) >= REPEATS and len(set(self._patterns[-REPEATS:])) == 1:
                self._error = record.failures[-1]

    def _is_excused(self, error: str) -> bool:
        return self._any_epoch and error.startswith(_CONFIG_ERRORS)
