"""Waits for a GPU: a counter that needs none, and a check on one."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Waits(TorchDispatchMode):
    """Counter of operations whose result the CPU reads, for which it would wait for a GPU."""

    OPERATIONS = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "bincount", "equal")

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket.__name__ in self.OPERATIONS
        return func(*args, **(kwargs or {}))


def waits_of_second_epoch(epochs):
    """Return the number of waits in the second epoch of ``fit``. The first one prepares the network and the data."""
    next(epochs)
    with Waits() as waits:
        next(epochs)
    return waits.count


def run_epoch_that_waits_only_to_score(epochs, scorer, monkeypatch):
    """Run the next epoch on the GPU; raise if anything waits for it before the scores of the two passes.

    Args:
        epochs: Result of ``fit``, after its first epoch, which prepares the network and the data.
        scorer: Class of the task's scorer.
        monkeypatch: Pytest's fixture.
    """
    compute, modes = scorer.compute, iter(["default", "error", "default", "default"])

    def compute_and_change_mode(self):
        torch.cuda.set_sync_debug_mode(next(modes))
        result = compute(self)
        torch.cuda.set_sync_debug_mode(next(modes))
        return result

    monkeypatch.setattr(scorer, "compute", compute_and_change_mode)
    torch.cuda.set_sync_debug_mode("error")  # every wait raises
    try:
        next(epochs)
    finally:
        torch.cuda.set_sync_debug_mode("default")
