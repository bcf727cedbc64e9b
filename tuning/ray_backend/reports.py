"""Parsing of Tune's reports, error files and checkpoint paths."""

import re
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial as RayTrial

from trainables.core.redact import without_credentials


def error_line(log: str) -> str:
    """Return the last error in a trial's error file in one line: its type and the first line of its message.

    Tune appends a header and the error's text for each failure. If a worker raised the error, the text is a traceback.
    """
    lines = log.rpartition("Failure #")[2].splitlines()[1:]
    frames = [index for index, line in enumerate(lines) if line.startswith("    ")]
    message = lines[frames[-1] + 1 :] if frames else lines
    line = next((line for line in message if line.strip()), "the worker died")
    return without_credentials(re.sub(r"^(?:\w+\.)+(\w+:)", r"\1", line))


def reported_metrics(result: dict[str, Any]) -> dict[str, float]:
    """Return the metrics that the trial reported, without the entries that Tune adds."""
    ours = ("train/", "tune/", "best_")
    return {key: float(value) for key, value in result.items() if key.startswith(ours) or key == "epoch_seconds"}


def checkpoint_uri(storage: str, trial: RayTrial, result: dict[str, Any]) -> str:
    """Return the path or URI of a report's checkpoint, which the worker completed before it sent the report."""
    below = Path(trial.storage.trial_fs_path).relative_to(trial.storage.storage_fs_path)
    return f"{storage.rstrip('/')}/{below.as_posix()}/{result['checkpoint_dir_name']}"
