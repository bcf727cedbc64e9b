import os
from pathlib import Path

import pytest
import ray

from tuning.ray_backend.cluster import joined


@pytest.fixture(scope="package", autouse=True)
def importable():
    """Let workers import these modules by name; the driver's working directory is not on their path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)
        yield


@pytest.fixture(scope="module")
def cluster():
    """A local Ray for the tests of a module."""
    with joined("local"):
        yield
    assert not ray.is_initialized()
