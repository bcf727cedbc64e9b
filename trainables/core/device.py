"""Device, precision and GPU memory of a training run."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import TypeVar

import torch

from trainables.core.errors import DeviceError, first_line

logger = logging.getLogger("trainables")
_Result = TypeVar("_Result")
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# Lines of RuntimeErrors by which CUDA and its libraries report a failed allocation. On a full GPU, creating a handle of
# cuBLAS or cuDNN fails with NOT_INITIALIZED. Where an allocation fails in every plan of cuDNN for a convolution, torch
# only says that it found no engine or algorithm.
_ALLOCATION_FAILURE = re.compile(
    r"CUDA error: out of memory"
    r"|CUBLAS_STATUS_(ALLOC_FAILED|NOT_INITIALIZED)"
    r"|CUDNN_STATUS_(ALLOC_FAILED|\w*_ALLOCATION_FAILED|NOT_INITIALIZED)"
    r"|unable to find an engine to execute this computation"
    r"|unable to find a valid cuDNN algorithm"
    r"|Cuda failure.*out of memory",  # NCCL
    re.IGNORECASE,
)
# Memory that CUDA itself takes in each process: context, kernels, handles. An estimate, not measured.
_CONTEXT_BYTES = 600 * 2**20


def resolve_device(device: str) -> torch.device:
    """Return the device for ``auto`` (a GPU if torch can use one now, else the CPU), ``cpu`` or ``cuda``.

    If there is a GPU that ``auto`` cannot use, a warning says why.

    Raises:
        DeviceError: ``cuda`` was requested and torch cannot use it. The message says why.
        torch.OutOfMemoryError: ``cuda`` was requested and works, but other processes have taken all of its memory.
    """
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    try:
        return _usable_gpu()
    except (DeviceError, torch.OutOfMemoryError) as error:
        if device != "auto":
            raise
        _warn_once(f"the CPU is used instead of the GPU: {first_line(error)}")
        return torch.device("cpu")


def _usable_gpu() -> torch.device:
    try:
        with memory_errors():
            torch.zeros(1, device="cuda")
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, AssertionError) as error:
        reason = first_line(error)
        if "no kernel image" in reason:
            supported = ", ".join(torch.cuda.get_arch_list())
            remedy = f"this build supports {supported}: install one that supports the GPU"
        else:
            remedy = "nvidia-smi shows whether the driver works"
        message = f"a GPU was requested but torch {torch.__version__} cannot use it: {reason} ({remedy}"
        raise DeviceError(f"{message}; tune-run --gpus-per-trial 0 trains on CPUs)") from error
    return torch.device("cuda", torch.cuda.current_device())


@cache
def _warn_once(message: str) -> None:
    logger.warning(message)


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
def exact_float32() -> Iterator[None]:
    """Compute convolutions in full float32, by deterministic algorithms, as registered models are served."""
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield


@contextmanager
def memory_errors() -> Iterator[None]:
    """Raise ``torch.OutOfMemoryError`` for every failed allocation on a GPU, also for those inside CUDA's libraries."""
    try:
        yield
    except RuntimeError as error:
        lines = str(error).splitlines()
        failure = next((line.strip() for line in lines if _ALLOCATION_FAILURE.search(line)), None)
        if isinstance(error, torch.OutOfMemoryError) or failure is None:
            raise
        raise torch.OutOfMemoryError(failure) from error


def halve_until_it_fits(run: Callable[[int], _Result], batch_size: int) -> _Result:
    """Return ``run(batch_size)``, or run again with half the batch whenever it does not fit into the GPU's memory.

    Args:
        run: Function of the number of images at a time. It may be called several times.
        batch_size: Number of images to begin with. On the CPU, nothing is halved.

    Raises:
        torch.OutOfMemoryError: The memory is too small for a single image.
    """
    while True:
        try:
            with memory_errors():
                return run(batch_size)
        except torch.OutOfMemoryError as error:
            if batch_size == 1:
                raise
            logger.info("%d images at a time do not fit: %s", batch_size, first_line(error))
        batch_size //= 2


def limit_memory(device: torch.device, share: float) -> None:
    """Limit this process to its share of a GPU's memory, so that trials on one GPU cannot take each other's.

    Args:
        device: Device of this process. The CPU's memory is not limited.
        share: Share of the GPU that is reserved for this process. 1 or more sets no limit.
    """
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        fraction = allocatable_share(share, total) if share < 1 else 1.0
        torch.cuda.set_per_process_memory_fraction(fraction, device)


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


def share_of_others(devices: int = 1) -> float:
    """Return the share of a GPU's memory that other processes hold, from 0 to 1; 0 if this one uses no GPU.

    Args:
        devices: Number of GPUs to look at. The largest share is returned.
    """
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return 0.0
    return max(_share_of_others(gpu) for gpu in range(devices))


def _share_of_others(gpu: int) -> float:
    try:
        with memory_errors():
            free, total = torch.cuda.mem_get_info(gpu)
    except torch.OutOfMemoryError:  # this process has not used that GPU, and now there is no room for it
        return 1.0
    return max(0.0, (total - free - torch.cuda.memory_reserved(gpu) - _CONTEXT_BYTES) / total)
