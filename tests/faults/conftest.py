import pytest
import ray

from tuning.cluster import joined


@pytest.fixture(scope="module")
def cluster():
    """A Ray of this machine alone, for a module's tests."""
    with joined("local"):
        yield
    assert not ray.is_initialized()
