"""The private API of MLflow that ``mlflow_patches`` uses: one clear failure when a new version changes it."""

import importlib.metadata
import inspect
import logging

import pytest
from mlflow.utils import environment, requirements_utils

from analysis.registry.mlflow_patches import unchecked_requirements

VERSION = f"MLflow {importlib.metadata.version('mlflow')}"


def mismatches(caplog):
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        environment.warn_dependency_requirement_mismatches(["numpy==0.0.1"])
    return "numpy" in caplog.text


@pytest.fixture(autouse=True)
def heard(monkeypatch):
    """MLflow's loggers do not hand on their records."""
    for name in ("mlflow", "mlflow.utils.requirements_utils"):
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
        monkeypatch.setattr(logging.getLogger(name), "level", logging.WARNING)


def test_requirements_are_compared_outside_the_block_only(caplog):
    assert mismatches(caplog)
    with unchecked_requirements():
        assert not mismatches(caplog)
    assert mismatches(caplog)


def test_an_error_in_the_block_restores_the_comparison(caplog):
    with pytest.raises(ValueError, match="x"), unchecked_requirements():
        raise ValueError("x")
    assert mismatches(caplog)


def test_mlflow_compares_requirements_by_the_function_that_is_replaced():
    source = inspect.getsource(requirements_utils.warn_dependency_requirement_mismatches)
    assert "_check_requirement_satisfied(req)" in source, f"{VERSION}: see analysis/registry/mlflow_patches.py"
