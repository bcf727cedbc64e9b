"""Device, precision and GPU memory of a training run."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from trainables.core.errors import DeviceError, first_line

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# Messages of RuntimeErrors by which CUDA, cuBLAS and cuDNN report a failed allocation. On a full GPU, creating a cuBLAS
# handle fails with NOT_INITIALIZED.
_ALLOCATION_FAILURES = (
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
# Memory that CUDA itself takes in each process: context, kernels, handles. An estimate, not measured.
_CONTEXT_BYTES = 600 * 2**20


def resolve_device(device: str) -> torch.device:
    """Return the device for ``auto`` (a GPU if torch can use one, else the CPU), ``cpu`` or ``cuda``.

    Raises:
        DeviceError: ``cuda`` was requested and torch cannot use it. The message says why.
        torch.OutOfMemoryError: The GPU works, but other processes have taken all of its memory.
    """
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    try:
        with memory_errors():
            torch.zeros(1, device="cuda")
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, AssertionError) as error:
        reason = f"{first_line(error)} (nvidia-smi shows whether the driver works)"
        message = f"a GPU was requested but torch {torch.__version__} cannot use it: {reason}"
        raise DeviceError(message) from error
    return torch.device("cuda", torch.cuda.current_device())


def check_gpu_count(count: int) -> None:
    """Raise DeviceError if torch sees fewer than ``count`` GPUs."""
    seen = torch.cuda.device_count()
    if seen < count:
        raise DeviceError(f"{count} GPUs were requested for one training but torch sees {seen}: use fewer")


def resolve_precision(precision: str, device: torch.device) -> str:
    """Return ``precision``, with ``auto`` resolved to bf16 or fp16 on a GPU (bf16 if supported) and fp32 on the CPU."""
    if precision != "auto":
        return precision
    if device.type == "cpu":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """Return the mixed-precision context of a forward pass. For fp32 it does nothing."""
    return torch.autocast(device.type, dtype=_DTYPES.get(precision), enabled=precision in _DTYPES)


@contextmanager
def memory_errors() -> Iterator[None]:
    """Raise ``torch.OutOfMemoryError`` for every failed allocation on a GPU, also for those inside CUDA's libraries."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or not any(text in str(error) for text in _ALLOCATION_FAILURES):
            raise
        raise torch.OutOfMemoryError(first_line(error)) from error


def limit_memory(device: torch.device, share: float) -> None:
    """Limit this process to its share of a GPU's memory, so that trials on one GPU cannot take each other's.

    Args:
        device: Device of this process. The CPU's memory is not limited.
        share: Share of the GPU that is reserved for this process. 1 or more sets no limit.
    """
    if device.type == "cuda" and share < 1:
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(allocatable_share(share, total), device)


def allocatable_share(share: float, total: int) -> float:
    """Return the share of a GPU's ``total`` bytes that tensors may take, so that CUDA's own memory fits beside them."""
    return max(share - _CONTEXT_BYTES / total, share / 2)


def required_share(tensors: int, device: torch.device) -> float:
    """Return the share of a GPU that a process must reserve for ``tensors`` bytes of tensors, at most 1.

    ``limit_memory`` then lets it allocate them.
    """
    total = torch.cuda.get_device_properties(device).total_memory
    return min(1.0, (tensors + _CONTEXT_BYTES) / total, 2 * tensors / total)


def free_memory(device: torch.device) -> int:
    """Return the bytes of GPU memory that this process can still allocate, within its limit.

    Blocks that torch keeps for reuse count as free.
    """
    free, total = torch.cuda.mem_get_info(device)
    allocated = torch.cuda.memory_allocated(device)
    limit = int(total * torch.cuda.get_per_process_memory_fraction(device))
    return min(free + torch.cuda.memory_reserved(device) - allocated, limit - allocated)
