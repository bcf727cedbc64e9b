"""Start and end of the processes that train together with this one."""

import logging
import multiprocessing
import pickle
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from trainables.core.child_process import follow_parent, own_code_first
from trainables.core.device import check_gpu_count, memory_errors
from trainables.core.training.parallel.ranks import Failure, Follower, Leader, OneRank, Ranks
from trainables.core.training.parallel.rendezvous import Rendezvous

logger = logging.getLogger("trainables")


@contextmanager
def start_ranks(
    count: int, device_type: str, follow: Callable[..., None], arguments: tuple[Any, ...]
) -> Iterator[Ranks]:
    """Start the other ranks, which end with the block or with this process.

    Args:
        count: Number of ranks. Rank r uses GPU r; this process is rank 0.
        device_type: ``cuda`` or ``cpu``.
        follow: Importable function of a ``Ranks`` and the arguments, which each other rank runs.
        arguments: Further arguments of ``follow``, which can be pickled.

    Yields:
        The view of rank 0.

    Raises:
        DeviceError: There are fewer GPUs.
    """
    if count == 1:
        yield OneRank()
        return
    if device_type == "cuda":
        check_gpu_count(count)
    spawn = multiprocessing.get_context("spawn")  # CUDA does not work in forks
    with tempfile.TemporaryDirectory() as folder:
        rendezvous = Rendezvous(count, device_type, str(Path(folder) / "store"))
        followers = []
        try:
            for rank in range(1, count):
                pipe, theirs = spawn.Pipe()
                settings = (rank, rendezvous, theirs, torch.get_num_threads(), follow)
                process = spawn.Process(target=_run, args=settings, daemon=True)
                with own_code_first():
                    process.start()
                theirs.close()  # so that the pipe ends when the process does
                followers.append((process, pipe))
            yield Leader(followers, rendezvous, arguments)
        finally:
            try:
                rendezvous.leave()
            finally:
                for process, pipe in followers:
                    process.kill()
                    process.join()
                    pipe.close()


def _run(rank: int, rendezvous: Rendezvous, pipe: Connection, threads: int, follow: Callable[..., None]) -> None:
    """Run one of the other ranks."""
    follow_parent()  # the main thread may wait for a rank that no longer exists
    torch.set_num_threads(threads)
    try:
        with memory_errors():
            if rendezvous.device_type == "cuda":
                torch.cuda.set_device(rank)
            follow(Follower(rank, rendezvous, pipe), *pickle.loads(pipe.recv_bytes()))
    except EOFError:  # rank 0 has ended
        return
    except Exception as error:
        logger.warning("rank %d failed", rank, exc_info=True)
        pipe.send_bytes(pickle.dumps(Failure.of(error)))
