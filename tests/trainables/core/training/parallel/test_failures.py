"""Processes that train together, of which one fails or dies. Each takes seconds to import torch and timm."""

import dataclasses
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time

import pytest
import torch

from tests.trainables.core.training.parallel.faulty_rank import FaultyRank
from trainables.core.errors import WeightsError
from trainables.core.training.fit import fit
from trainables.core.training.parallel.ranks import Failure, Leader, RankError
from trainables.core.training.parallel.rendezvous import Rendezvous

KILLED = "process 1 of the 2 that train together was ended by SIGKILL"
FAULTS = [
    ("raises", RankError, "process 1 of the 2 that train together failed: RuntimeError: struck"),
    pytest.param("raises a user's error", WeightsError, "these weights do not fit", marks=pytest.mark.slow),
    pytest.param("is killed", RankError, KILLED, marks=pytest.mark.slow),
    pytest.param("is killed in the third pass", RankError, KILLED, marks=pytest.mark.slow),
    pytest.param("is killed in the third sum", RankError, KILLED, marks=pytest.mark.slow),
    pytest.param("has room for four images", torch.OutOfMemoryError, "CUDA out of memory.", marks=pytest.mark.slow),
]


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "kind", "message"), FAULTS)
def test_the_failure_of_a_process_ends_the_training_at_once(config, small_data, fault, kind, message):
    epochs = fit(config().for_devices(2), FaultyRank.of(small_data, fault), devices=2)
    with pytest.raises(kind) as error:
        list(epochs)
    assert str(error.value) == message
    assert not multiprocessing.active_children()
    assert not torch.distributed.is_initialized()


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.timeout(120)
def test_a_gpu_does_not_wait_for_a_process_that_died_in_the_last_sum_of_an_epoch(config, small_data):
    """NCCL itself would wait for five minutes and then end rank 0."""
    few = dataclasses.replace(small_data, splits=small_data.splits | {"fit": small_data.splits["fit"][:48]})
    chosen = config(batch_size=16, device="cuda", epochs=1).for_devices(2)  # three steps
    with pytest.raises(RankError, match=KILLED):
        list(fit(chosen, FaultyRank.of(few, "is killed in the third sum"), devices=2))
    assert not torch.distributed.is_initialized()


class Never:
    """The event after a sum on a GPU that never ends."""

    def query(self):
        return False


@pytest.mark.parametrize(
    ("last", "kind", "message"),
    [
        (None, RankError, KILLED),
        (Failure.of(torch.OutOfMemoryError("Cuda failure 2 'out of memory'")), torch.OutOfMemoryError, "Cuda failure"),
    ],
)
def test_rank_0_stops_waiting_for_a_sum_once_another_rank_has_ended(last, kind, message):
    spawn = multiprocessing.get_context("fork")
    pipe, theirs = spawn.Pipe()
    process = spawn.Process(target=end, args=(theirs, last))
    process.start()
    theirs.close()
    leader = Leader([(process, pipe)], Rendezvous(2, "cuda", ""), ())
    leader._last_sum = Never()
    with pytest.raises(kind, match=message):
        leader.finish_sums()


def end(pipe, last):
    """Hand a message to rank 0 and end, or be killed."""
    if last is None:
        os.kill(os.getpid(), signal.SIGKILL)
    pipe.send_bytes(pickle.dumps(last))
    os._exit(0)


def test_a_process_whose_connections_close_before_it_ends_is_the_cause_of_a_failed_sum(monkeypatch):
    """The kernel closes the files of a killed process first; on a busy machine, rank 0 notices in between."""

    def fail(_):
        raise RuntimeError("Connection closed by peer")

    fork = multiprocessing.get_context("fork")
    pipe, theirs = fork.Pipe()
    process = fork.Process(target=close_and_end)
    process.start()
    theirs.close()
    monkeypatch.setattr(torch.distributed, "all_reduce", fail)
    with pytest.raises(RankError, match=KILLED):
        Leader([(process, pipe)], Rendezvous(2, "cpu", ""), ()).sum(torch.zeros(1))


def close_and_end():
    """Close all files, and be killed a little later."""
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_sum_that_finds_no_memory_is_an_out_of_memory_error(monkeypatch):
    """So that the batch is halved on all ranks."""
    message = "NCCL error in: ProcessGroupNCCL.cpp:94\nLast error:\nCuda failure 2 'out of memory'"

    def fail(_):
        raise RuntimeError(message)

    monkeypatch.setattr(torch.distributed, "all_reduce", fail)
    with pytest.raises(torch.OutOfMemoryError, match="Cuda failure 2 'out of memory'"):
        Leader([], Rendezvous(1, "cuda", ""), ()).sum(torch.zeros(1))


@pytest.mark.slow
def test_the_other_processes_end_with_the_generator(config, small_data):
    epochs = fit(config().for_devices(2), small_data, devices=2)
    next(epochs)
    assert len(multiprocessing.active_children()) == 1
    epochs.close()
    assert not multiprocessing.active_children()
    (epoch, *_) = fit(config(epochs=1).for_devices(2), small_data, devices=2)  # this process can train again
    assert epoch.epoch == 1


@pytest.mark.slow
def test_other_processes_import_this_package_and_not_the_copy_of_a_loaded_model(
    config, small_data, tmp_path, monkeypatch
):
    (tmp_path / "trainables" / "core").mkdir(parents=True)
    for folder in ("trainables", "trainables/core"):
        (tmp_path / folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    (epoch,) = fit(config(epochs=1).for_devices(2), small_data, devices=2)
    assert epoch.epoch == 1


SCRIPT = """
import multiprocessing, pickle, sys, time
from trainables.core.training.fit import fit

if __name__ == "__main__":
    with open(sys.argv[1], "rb") as file:
        config, data = pickle.load(file)
    next(epochs := fit(config, data, devices=2))
    print(multiprocessing.active_children()[0].pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_the_other_processes_end_when_rank_0_is_killed(config, small_data, tmp_path):
    (tmp_path / "arguments").write_bytes(pickle.dumps((config().for_devices(2), small_data)))
    (tmp_path / "train.py").write_text(SCRIPT)
    command = [sys.executable, tmp_path / "train.py", tmp_path / "arguments"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as rank_0:
        other = int(rank_0.stdout.readline())
        os.kill(other, 0)  # it is there
        rank_0.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.kill(other, 0)
            time.sleep(0.1)
