import os
from pathlib import Path

import pytest
import ray

from tuning.ray_backend.cluster import joined


@pytest.fixture(scope="package", autouse=True)
def importable():
    """Workers import by name what these modules give a trial to do, and look into no folder of the driver's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)
        yield


@pytest.fixture(scope="module")
def cluster():
    """A Ray of this machine alone, for a module's tests."""
    with joined("local"):
        yield
    assert not ray.is_initialized()
