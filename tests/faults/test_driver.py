"""Drivers killed at named points, at random times and in random sequences, then continued with --resume."""

import random
import signal
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.kills import PAUSES, POINTS
from tests.faults.simulated import INJECTED, Simulated
from tests.searches import (
    SMALL,
    check_nothing_lost,
    command,
    environment,
    killed_search,
    load,
    search,
    wait_for_orphans,
)

pytestmark = pytest.mark.ray

NUM_SAMPLES = 3
# Points in a search with simulated training, which decodes no images and registers no model.
SIMULATED = [point for point in POINTS if not any(part in point for part in ("images", "test", "model"))]
SIMULATED += PAUSES


@pytest.fixture(scope="module", autouse=True)
def count():
    yield
    print(f"drivers killed: {dict(INJECTED)}")


@contextmanager
def quick_folder():
    """A temporary folder, in memory if possible: it outlives a process like a disk, but is faster."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.mark.parametrize("point", SIMULATED)
def test_a_driver_killed_at_a_named_point_loses_and_duplicates_nothing(point):
    with quick_folder() as folder:
        simulated = Simulated(folder, num_samples=8)  # of which some pause at both rungs, and some of these continue
        assert simulated.run_in_a_process(point, 2) == signal.SIGKILL
        assert simulated.run_in_a_process() == 0
        simulated.check()


KILLS = st.lists(st.tuples(st.sampled_from(SIMULATED), st.integers(1, 40)), max_size=6)


def check_sequence(kills, num_samples):
    with quick_folder() as folder:
        simulated = Simulated(folder, num_samples)
        for point, nth in kills:
            simulated.run_in_a_process(point, nth)  # a session that does not reach the point finishes
        assert simulated.run_in_a_process() == 0
        simulated.check()


@pytest.mark.slow
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(kills=KILLS, num_samples=st.integers(1, 5))
def test_any_sequence_of_kills_and_resumes(kills, num_samples):
    check_sequence(kills, num_samples)


@pytest.mark.faults
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(kills=KILLS, num_samples=st.integers(1, 5))
def test_many_sequences_of_kills_and_resumes(kills, num_samples):
    check_sequence(kills, num_samples)


ARGUMENTS = ["demo_space", "--data", "data", *SMALL, "--num-samples", NUM_SAMPLES]


def check_search(folder):
    uri = f"sqlite:///{folder}/mlflow.db"
    parent = check_nothing_lost(load(folder, "demo_space"), uri, "demo_space", NUM_SAMPLES, epochs=3)
    versions = [version for version in versions_of(uri) if version.run_id == parent.info.run_id]
    assert len(versions) == 1
    return parent


def versions_of(uri):
    from mlflow import MlflowClient

    return MlflowClient(uri).search_model_versions("name = 'demo_space'")


@pytest.mark.faults
@pytest.mark.parametrize("point", POINTS)
def test_a_whole_search_killed_at_a_named_point(folder, point):
    nth = 1 if "images" in point or "test" in point or "model" in point else 2
    killed_search(folder, point, nth, *ARGUMENTS)
    INJECTED["whole searches"] += 1
    opened = unscored_openings(folder)
    assert opened or "test" not in point  # also at other points, if MLflow is slow
    search(folder, *ARGUMENTS, *resume(folder))
    parent = check_search(folder)
    assert parent.data.metrics["test_openings"] == 1 + opened


def resume(folder):
    """Return the option that the next command needs: none if the last one was killed before it created a study."""
    return ["--resume"] if (folder / "results" / "demo_space" / "study.journal").exists() else []


def unscored_openings(folder):
    """Return how often the test set was opened by drivers that were killed before they saved the scores."""
    if not resume(folder):
        return 0
    attributes = load(folder, "demo_space").user_attrs
    return 0 if "ensemble" in attributes else sum(attributes.get("test_openings", {}).values())


@pytest.mark.faults
@pytest.mark.timeout(900)  # it waits for Ray's processes to end after each of four kills
@pytest.mark.parametrize("seed", range(3))
def test_a_whole_search_killed_at_random_times(folder, seed):
    generator = random.Random(seed)
    kills = 0
    for _ in range(4):
        driver = subprocess.Popen(
            command(*ARGUMENTS, *resume(folder)), cwd=folder, env=environment(folder), stdout=subprocess.DEVNULL
        )
        with suppress(subprocess.TimeoutExpired):
            driver.wait(generator.uniform(1, 15))
        driver.kill()
        driver.wait()
        wait_for_orphans(folder)
        kills += driver.returncode == -signal.SIGKILL
        if driver.returncode == 0:
            break
    assert kills
    INJECTED["whole searches"] += kills
    search(folder, *ARGUMENTS, *resume(folder))
    check_search(folder)
