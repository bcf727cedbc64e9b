"""Connection of the ranks by torch's default process group: NCCL between GPUs, Gloo between processes on the CPU."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch.distributed as dist

# Ranks connect and sum at the same time, within seconds. Longer waits mean that one of them hangs.
_TIMEOUT = timedelta(minutes=5)


@dataclass(frozen=True)
class Rendezvous:
    """Meeting point of the ranks of one training.

    Attributes:
        count: Number of ranks, all on this machine.
        device_type: ``cuda`` or ``cpu``.
        file: Absolute path of a file in an empty folder that all ranks see.
    """

    count: int
    device_type: str
    file: str

    def connect(self, rank: int) -> None:
        """Wait for the other ranks and connect to them."""
        backend = "nccl" if self.device_type == "cuda" else "gloo"
        with _gloo_on_loopback():
            dist.init_process_group(backend, f"file://{self.file}", rank=rank, world_size=self.count, timeout=_TIMEOUT)

    def leave(self) -> None:
        """Disconnect, also if other ranks have died or wait for this one."""
        world = dist.group.WORLD if dist.is_initialized() else None
        if world is None:
            return
        if self.device_type == "cuda":  # a sum that another rank never joins would occupy the GPU for ever
            world.abort()
        dist.destroy_process_group()


@contextmanager
def _gloo_on_loopback() -> Iterator[None]:
    """Let Gloo listen on the loopback interface only, unless the user has chosen one."""
    name = "GLOO_SOCKET_IFNAME"
    loopback = next((interface for _, interface in socket.if_nameindex() if interface.startswith("lo")), None)
    if name in os.environ or loopback is None:
        yield
        return
    os.environ[name] = loopback
    try:
        yield
    finally:
        del os.environ[name]
