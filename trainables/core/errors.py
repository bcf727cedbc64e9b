"""Errors of the training core."""

from trainables.core.redact import without_credentials


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message without credentials, or its type if the message is empty."""
    return without_credentials(next(iter(str(error).strip().splitlines()), "")) or type(error).__name__


def describe(error: BaseException) -> str:
    """Return an error in one line: its type and the first line of its message."""
    return f"{type(error).__name__}: {first_line(error)}"


def install_extra(extra: str) -> str:
    """Return the remedy for a missing package of one of this project's extras."""
    return f"in the checkout, run pip install --constraint constraints.txt --editable '.[{extra}]'"


class UserError(Exception):
    """A user's mistake. The message is one line with the rule, the value and the remedy."""


class ConfigError(UserError):
    """A training configuration has an unknown, missing, unread or out-of-range key."""


class DataError(UserError):
    """A data set cannot be read, split or scored."""


class MissingPackageError(DataError):
    """A package that reads a format is not installed. This says nothing about the image, so it must not be cached."""


class ChangedFileError(UserError):
    """A file is no longer the one that the data set was identified by. Its pixels must not enter a cache."""


class WeightsError(UserError):
    """A backbone is unknown, or its weights do not exist or do not fit, on any machine."""


class DeviceError(UserError):
    """The requested device cannot be used."""


class GpuTakenError(UserError):
    """Other processes hold the GPU memory that a trial has reserved. This says nothing about its configuration."""


class CheckpointError(Exception):
    """A checkpoint is incomplete or belongs to another model."""


class NonFiniteLossError(Exception):
    """The training loss became NaN or infinite."""
