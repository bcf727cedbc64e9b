"""Ranks: the processes that train one model together, numbered from 0. Rank 0 scores, reports and saves.

Pipes carry everything but tensors to sum. Before each sum, rank 0 hears from every rank, so that a rank that has failed
or died is noticed before any rank waits for its tensors. On a GPU, only the kernels wait, so rank 0 also watches the
others before it waits for its GPU.
"""

import pickle
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor

from trainables.core.device import memory_errors
from trainables.core.errors import ConfigError, DeviceError, WeightsError, describe, first_line
from trainables.core.training.parallel.rendezvous import Rendezvous

# Errors that a rank hands to rank 0 as they are, because the caller treats them in ways of their own.
_PASSED_ON: tuple[type[Exception], ...] = (torch.OutOfMemoryError, ConfigError, DeviceError, WeightsError)
_DEATH_S = 10.0  # time for the end of a process that has closed its connections
_POLL_S = 0.001


class RankError(Exception):
    """A process that trains together with this one failed or died."""


@dataclass(frozen=True)
class Failure:
    """The last message of a rank that failed.

    Attributes:
        kind: Class of the error if rank 0 raises it again, else None.
        message: The error in one line.
    """

    kind: type[Exception] | None
    message: str

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        """Describe an error."""
        kind = next((kind for kind in _PASSED_ON if isinstance(error, kind)), None)
        return cls(kind, first_line(error) if kind else describe(error))


class Ranks(ABC):
    """The view that one rank has of all.

    Attributes:
        rank: Number of this rank.
        count: Number of all ranks.
    """

    rank: int
    count: int

    @property
    def seed_keys(self) -> tuple[int, ...]:
        """Keys that make this rank's random numbers differ from those of the others; rank 0 has those of one device."""
        return (self.rank,) if self.rank else ()

    def block(self, numbers: range) -> range:
        """Return this rank's block of consecutive numbers.

        The blocks are in the order of the ranks. Their lengths differ by at most one, and rank 0 has the longest.
        """
        size, longer = divmod(len(numbers), self.count)
        start = self.rank * size + min(self.rank, longer)
        return numbers[start : start + size + (self.rank < longer)]

    @abstractmethod
    def join(self) -> None:
        """Connect to the other ranks, once this one is ready."""

    @abstractmethod
    def gather(self, item: Any) -> list[Any]:
        """Wait for all ranks. Return their items, in the order of the ranks, on rank 0; elsewhere an empty list.

        Raises:
            RankError: On rank 0: a rank failed or died.
            OutOfMemoryError, ConfigError, DeviceError, WeightsError: On rank 0: a rank raised it.
            EOFError: On the others: rank 0 ended the training.
        """

    @abstractmethod
    def sum(self, values: Tensor) -> None:
        """Replace a tensor by its sum over all ranks, after a ``gather``. On a GPU, only later kernels wait for it."""

    @abstractmethod
    def finish_sums(self) -> None:
        """Wait until all sums so far are there. To be called before anything else waits for the GPU.

        Raises:
            RankError: On rank 0: a rank failed or died, so that its GPU would wait for ever.
            OutOfMemoryError: On rank 0: a sum found too little memory.
        """


class OneRank(Ranks):
    """The only rank."""

    rank, count = 0, 1

    def join(self) -> None:
        """Do nothing."""

    def gather(self, item: Any) -> list[Any]:
        """Return the item."""
        return [item]

    def sum(self, values: Tensor) -> None:
        """Leave the tensor as it is."""

    def finish_sums(self) -> None:
        """Do nothing."""


class Follower(Ranks):
    """The view of a rank other than 0.

    Args:
        rank: Number of this rank.
        rendezvous: Where the ranks connect.
        pipe: Pipe to rank 0.
    """

    def __init__(self, rank: int, rendezvous: Rendezvous, pipe: Connection):
        self.rank, self.count = rank, rendezvous.count
        self._rendezvous, self._pipe = rendezvous, pipe

    def join(self) -> None:
        """Tell rank 0 that this rank is ready, and connect."""
        self.gather(None)
        self._rendezvous.connect(self.rank)

    def gather(self, item: Any) -> list[Any]:
        """Send the item, and wait for the others."""
        self._pipe.send_bytes(pickle.dumps(item))
        self._pipe.recv_bytes()
        return []

    def sum(self, values: Tensor) -> None:
        """Take part in the sum."""
        dist.all_reduce(values)

    def finish_sums(self) -> None:
        """Do nothing: rank 0 ends this process if another one has ended."""


class Leader(Ranks):
    """The view of rank 0.

    Args:
        followers: Process of each other rank, and the pipe to it.
        rendezvous: Where the ranks connect.
        arguments: Arguments that each other rank begins with.
    """

    rank = 0

    def __init__(
        self,
        followers: Sequence[tuple[BaseProcess, Connection]],
        rendezvous: Rendezvous,
        arguments: tuple[Any, ...],
    ):
        self.count = rendezvous.count
        self._followers, self._rendezvous, self._arguments = followers, rendezvous, arguments
        self._last_sum: torch.cuda.Event | None = None

    def join(self) -> None:
        """Let the other ranks prepare, which find in the caches what this one has prepared, and connect."""
        self._send_all(pickle.dumps(self._arguments))
        self.gather(None)
        self._rendezvous.connect(self.rank)

    def gather(self, item: Any) -> list[Any]:
        """Collect the items of all ranks, then let them continue."""
        items = [item, *(self._receive(number) for number in range(1, self.count))]
        self._send_all(b"")
        return items

    def sum(self, values: Tensor) -> None:
        """Take part in the sum."""
        with self._lost_contact():
            dist.all_reduce(values)
            if values.is_cuda:
                self._last_sum = torch.cuda.current_stream(values.device).record_event()

    def finish_sums(self) -> None:
        """Wait for the sums on the GPU as long as all other ranks live."""
        with self._lost_contact():
            while self._last_sum is not None and not self._last_sum.query():  # type: ignore[no-untyped-call]
                if self._ended(_POLL_S):
                    raise RuntimeError("a sum on the GPU did not end")

    @contextmanager
    def _lost_contact(self) -> Iterator[None]:
        """Raise for the rank that has ended if a sum fails."""
        try:
            with memory_errors():
                yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # a rank failed or died within the last milliseconds
            for number in self._ended(_DEATH_S):
                self._raise_end(number)
            raise RankError(f"the ranks lost contact: {describe(error)}") from error

    def _ended(self, timeout: float) -> list[int]:
        """Return the ranks that have ended, as soon as there is one or the time in seconds is over; killed ones first.

        The end of one makes the sums of the others fail, which they report before they end with exit code 0.
        """
        closed = wait([process.sentinel for process, _ in self._followers], timeout=timeout)
        ended = [number for number in range(1, self.count) if self._process(number).sentinel in closed]
        for number in ended:
            self._process(number).join(_DEATH_S)  # its files close shortly before it has an exit code
        return sorted(ended, key=lambda number: self._process(number).exitcode == 0)

    def _raise_end(self, number: int) -> NoReturn:
        """Raise the failure that a rank reported before it ended, or that it died."""
        while True:
            self._receive(number)

    def _send_all(self, message: bytes) -> None:
        for number in range(1, self.count):
            try:
                self._followers[number - 1][1].send_bytes(message)
            except (BrokenPipeError, ConnectionResetError) as error:
                raise self._died(number) from error

    def _receive(self, number: int) -> Any:
        process, pipe = self._followers[number - 1]
        wait([pipe, process.sentinel])
        try:
            message = pickle.loads(pipe.recv_bytes())
        except (EOFError, ConnectionResetError) as error:
            raise self._died(number) from error
        if not isinstance(message, Failure):
            return message
        if message.kind is not None:
            raise message.kind(message.message)
        raise RankError(f"process {number} of the {self.count} that train together failed: {message.message}")

    def _process(self, number: int) -> BaseProcess:
        return self._followers[number - 1][0]

    def _died(self, number: int) -> RankError:
        process = self._process(number)
        process.join(_DEATH_S)
        code = process.exitcode or 0
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return RankError(f"process {number} of the {self.count} that train together {how}")
