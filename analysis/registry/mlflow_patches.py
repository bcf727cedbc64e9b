"""The only use of MLflow's private API. tests/analysis/registry/test_mlflow_patches.py fails if MLflow changes it."""

from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.utils import requirements_utils


@contextmanager
def unchecked_requirements() -> Iterator[None]:
    """Save models within the block without comparing their requirements with the installed packages.

    For the first comparison, MLflow reads the file lists of all installed packages, which takes about a second.
    Our requirements are the installed versions (``model_files._requirements``), so it can find no difference.
    Public way: none. MLflow compares ``pip_requirements`` as well as those of a ``conda_env``, and loads the model in
    another process to infer them if it gets neither.
    """
    check = requirements_utils._check_requirement_satisfied
    requirements_utils._check_requirement_satisfied = lambda _: None
    try:
        yield
    finally:
        requirements_utils._check_requirement_satisfied = check
