"""A counter of waits for a GPU, which needs none."""

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
