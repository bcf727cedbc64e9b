"""The driver killed: at named points, at random moments, in random sequences; then the same command with --resume."""

import math
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.kills import POINTS, arm
from tests.searches import SMALL, check_nothing_lost, command, environment, load, search
from tests.tuning.test_study import EPOCHS, Driver
from tuning.storage import open_study, study_storage
from tuning.tracking import SearchInfo, Tracker

NUM_SAMPLES = 3
# The points that a search passes whose training is simulated: it decodes nothing and registers nothing.
SIMULATED = [point for point in POINTS if not any(part in point for part in ("images", "test", "model"))]


INJECTED = Counter()  # kills that struck


@pytest.fixture(scope="module", autouse=True)
def count():
    yield
    print(f"drivers killed: {dict(INJECTED)}")


def simulated_search(folder, num_samples):
    """A driver's session with real study and MLflow, two trials at a time whose training takes no time."""
    driver = Driver(folder, num_samples, max_concurrent=2)
    tracker = Tracker(driver.study, f"sqlite:///{folder}/mlflow.db", SearchInfo("space", "search", "uid", {}, {}))
    live = {}
    while True:
        while isinstance(started := driver.start(), tuple) and isinstance(started[1], dict):
            trial_id, config = started
            done = int(config["resume_from"][-6:]) if config["resume_from"] else 0
            live[trial_id] = (config, done)
        tracker.flush()
        if not live:
            break
        for trial_id, (config, done) in list(live.items()):
            # Odd ones fall behind; one value an epoch of a trial, whichever session reports it.
            decision = driver.report(trial_id, done + 1, 0.9 - 0.5 * (config["number"] % 2) + 0.001 * done)
            live[trial_id] = (config, done + 1)
            if decision == "STOP" or done + 1 == EPOCHS:
                del live[trial_id]
                driver.searcher.on_trial_complete(trial_id)
    tracker.close("FINISHED")


def in_a_process(function, *args):
    """Runs it in a child of this process; returns the signal that ended it, or 0."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            function(*args)
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    INJECTED["simulated training"] += os.WIFSIGNALED(status)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def killed_search(folder, num_samples, point, nth):
    arm(point, nth)
    simulated_search(folder, num_samples)


def check_simulated(folder, num_samples):
    study = open_study(study_storage(folder, None), "search", "balanced_accuracy", EPOCHS, seed=0)
    check_nothing_lost(study, f"sqlite:///{folder}/mlflow.db", "space", num_samples, EPOCHS)


@contextmanager
def quick_folder():
    """In memory where that can be: it outlives a process as a disk does, and waits for no platter."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.mark.parametrize("point", SIMULATED)
def test_a_driver_killed_at_a_named_point_loses_and_doubles_nothing(point):
    with quick_folder() as folder:
        assert in_a_process(killed_search, folder, NUM_SAMPLES, point, 2) == signal.SIGKILL
        assert in_a_process(simulated_search, folder, NUM_SAMPLES) == 0
        check_simulated(folder, NUM_SAMPLES)


KILLS = st.lists(st.tuples(st.sampled_from(SIMULATED), st.integers(1, 40)), max_size=6)


def check_sequence(kills, num_samples):
    with quick_folder() as folder:
        for point, nth in kills:
            in_a_process(killed_search, folder, num_samples, point, nth)  # where it does not get there, it finishes
        assert in_a_process(simulated_search, folder, num_samples) == 0
        check_simulated(folder, num_samples)


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


def wait_for_the_orphans(driver):
    """Ray's processes end when they find their driver gone."""
    psutil.wait_procs(driver, timeout=60)


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
    arguments = [point, nth, *ARGUMENTS]
    driver = subprocess.Popen(
        command(*arguments, module="tests.faults.kills"), cwd=folder, env=environment(folder), stdout=subprocess.DEVNULL
    )
    orphans = follow(driver)
    assert driver.returncode == -signal.SIGKILL
    INJECTED["whole searches"] += 1
    wait_for_the_orphans(orphans)
    opened = opened_in_vain(folder)
    assert opened or "test" not in point  # at other points too, where MLflow is that slow
    search(folder, *ARGUMENTS, *resume(folder))
    parent = check_search(folder)
    assert parent.data.metrics["test_openings"] == 1 + opened


def resume(folder):
    """What the next command needs: nothing, where the last was killed before it began a search."""
    return ["--resume"] if (folder / "results" / "demo_space" / "study.journal").exists() else []


def opened_in_vain(folder):
    """How often the test set was opened by a driver that did not live to note the scores: counted before it is."""
    if not resume(folder):
        return 0
    noted = load(folder, "demo_space").user_attrs
    return 0 if "ensemble" in noted else sum(noted.get("test_openings", {}).values())


def follow(driver, until=math.inf):
    """Waits for a driver's end, or kills it at ``until``; returns the processes that it had."""
    had = []
    while driver.poll() is None:
        had = psutil.Process(driver.pid).children(recursive=True) or had
        if time.monotonic() >= until:
            driver.kill()
            driver.wait()
        time.sleep(0.05)
    return had


@pytest.mark.faults
@pytest.mark.timeout(900)  # after each of four kills it waits for Ray's processes to notice
@pytest.mark.parametrize("seed", range(3))
def test_a_whole_search_killed_at_random_moments(folder, seed):
    generator = random.Random(seed)
    kills = 0
    for _ in range(4):
        driver = subprocess.Popen(
            command(*ARGUMENTS, *resume(folder)), cwd=folder, env=environment(folder), stdout=subprocess.DEVNULL
        )
        wait_for_the_orphans(follow(driver, time.monotonic() + generator.uniform(1, 15)))
        kills += driver.returncode == -signal.SIGKILL
        if driver.returncode == 0:
            break
    assert kills
    INJECTED["whole searches"] += kills
    search(folder, *ARGUMENTS, *resume(folder))
    check_search(folder)
