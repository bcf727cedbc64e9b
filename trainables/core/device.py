"""Device and precision of a training run."""

from contextlib import AbstractContextManager

import torch

from trainables.core.errors import DeviceError, first_line

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_device(device: str) -> torch.device:
    """Return the device for ``auto`` (a GPU if torch can use one, else the CPU), ``cpu`` or ``cuda``.

    Raises:
        DeviceError: ``cuda`` was requested and torch cannot use it. The message says why.
    """
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    try:
        torch.zeros(1, device="cuda")
    except (RuntimeError, AssertionError) as error:
        message = f"a GPU was requested but torch {torch.__version__} cannot use it: {first_line(error)}"
        raise DeviceError(message) from error
    return torch.device("cuda", torch.cuda.current_device())


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
