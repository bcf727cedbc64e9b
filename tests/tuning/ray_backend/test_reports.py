from types import SimpleNamespace

import pytest

from tuning.ray_backend.reports import checkpoint_uri, error_line, reported_metrics

RAISED = """Failure # 1 (occurred at 2026-01-01_00-00-00)
an older one
Failure # 2 (occurred at 2026-01-01_00-00-01)
ray::ImplicitFunc.train() (pid=1, ip=127.0.0.1)
  File "trial.py", line 1, in run_trial
    raise package.module.OddError("one\\ntwo")
package.module.OddError: one: a
two
"""
DIED = """Failure # 1 (occurred at 2026-01-01_00-00-00)
The actor died unexpectedly before finishing this task.
\tclass_name: ImplicitFunc
"""


@pytest.mark.parametrize(
    ("log", "line"),
    [
        (RAISED, "OddError: one: a"),
        (DIED, "The actor died unexpectedly before finishing this task."),
        ("", "the worker died"),
    ],
)
def test_an_error_file_is_cut_to_one_line(log, line):
    assert error_line(log) == line


def test_only_the_trials_own_metrics_are_kept():
    result = {"epoch": 1, "train/loss": 1, "tune/loss": 2.0, "best_loss": 2, "epoch_seconds": 3, "time_total_s": 4.0}
    assert reported_metrics(result) == {"train/loss": 1.0, "tune/loss": 2.0, "best_loss": 2.0, "epoch_seconds": 3.0}


@pytest.mark.parametrize("storage", ["/results/search", "s3://bucket/search/"])
def test_a_checkpoint_is_addressed_below_the_searchs_storage(storage):
    place = SimpleNamespace(trial_fs_path="bucket/search/session-001/trial-0001", storage_fs_path="bucket/search")
    uri = checkpoint_uri(storage, SimpleNamespace(storage=place), {"checkpoint_dir_name": "checkpoint_000002"})
    assert uri == f"{storage.rstrip('/')}/session-001/trial-0001/checkpoint_000002"
