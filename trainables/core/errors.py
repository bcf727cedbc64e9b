"""The errors of the training core that callers tell apart."""

from trainables.core.redact import without_credentials


def first_line(error: BaseException) -> str:
    """An error's message, cut to its first line and without credentials; its type where it has none."""
    return without_credentials(next(iter(str(error).strip().splitlines()), "")) or type(error).__name__


def describe(error: BaseException) -> str:
    """An error in one line: its type and the first line of its message."""
    return f"{type(error).__name__}: {first_line(error)}"


class UserError(Exception):
    """A mistake of the user's: the message is one line that names the rule, the value and the remedy."""


class ConfigError(UserError):
    """A training configuration has an unknown, missing, unread or out-of-range key."""


class DataError(UserError):
    """A data set cannot be read, split or scored as it is."""


class WeightsError(UserError):
    """A backbone is unknown, or its weights are missing or do not fit it."""


class DeviceError(UserError):
    """The device that was asked for cannot be used."""


class CheckpointError(Exception):
    """A checkpoint is not whole, or belongs to another model."""


class NonFiniteLossError(Exception):
    """The training loss became NaN or infinite: the configuration diverged."""
