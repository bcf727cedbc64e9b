import pytest
import torch

from trainables.core.device import (
    allocatable_share,
    check_gpu_count,
    free_memory,
    limit_memory,
    memory_errors,
    resolve_device,
)
from trainables.core.errors import DeviceError

GIB = 2**30
# Messages of torch 2.15 and of CUDA's libraries.
FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
]
BROKEN = [
    RuntimeError("Found no NVIDIA driver on your system."),
    AssertionError("Torch not compiled with CUDA enabled"),
    RuntimeError("CUDA error: device-side assert triggered"),
]


def raising(error):
    def raise_it(*args, **kwargs):
        raise error

    return raise_it


@pytest.mark.parametrize("error", FULL, ids=str)
def test_every_failed_allocation_is_an_out_of_memory_error(error):
    with pytest.raises(torch.OutOfMemoryError, match=r"out of memory|ALLOC_FAILED|NOT_INITIALIZED"), memory_errors():
        raise error


@pytest.mark.parametrize("error", BROKEN, ids=str)
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as raised, memory_errors():
        raise error
    assert raised.value is error


@pytest.mark.parametrize("error", FULL, ids=str)
def test_a_full_gpu_is_no_missing_gpu(monkeypatch, error):
    monkeypatch.setattr(torch, "zeros", raising(error))
    with pytest.raises(torch.OutOfMemoryError):
        resolve_device("cuda")


@pytest.mark.parametrize("error", BROKEN, ids=str)
def test_a_gpu_that_does_not_work_is_named(monkeypatch, error):
    monkeypatch.setattr(torch, "zeros", raising(error))
    with pytest.raises(DeviceError, match=r"a GPU was requested but torch \S+ cannot use it: .*nvidia-smi"):
        resolve_device("cuda")


@pytest.mark.parametrize("total", [16 * GIB, 80 * GIB])
@pytest.mark.parametrize("trials", [1, 2, 4, 8, 100])
def test_all_shares_of_a_gpu_fit_on_it(trials, total):
    share = allocatable_share(1 / trials, total)
    assert 0 < share * trials < 1
    if trials <= 8:
        assert trials * (share * total + 600 * 2**20) <= total * (1 + 1e-9)


def test_the_cpus_memory_is_not_limited():
    limit_memory(torch.device("cpu"), 0.0)


@pytest.mark.parametrize(
    ("free", "reserved", "allocated", "limit", "expected"),  # GiB of a GPU with 80 GiB
    [
        (70, 0, 0, 1.0, 70),
        (60, 10, 2, 1.0, 68),  # 8 GiB are kept for reuse
        (60, 10, 2, 0.25, 18),  # 20 GiB are this process's share
        (5, 10, 2, 0.25, 13),  # other processes have taken more than theirs
    ],
)
def test_free_memory_counts_blocks_kept_for_reuse_within_the_limit(
    monkeypatch, free, reserved, allocated, limit, expected
):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free * GIB, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: reserved * GIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: allocated * GIB)
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda _: limit)
    assert free_memory(torch.device("cuda")) == expected * GIB


@pytest.mark.gpu
def test_a_process_cannot_take_more_than_its_share():
    device = resolve_device("cuda")
    total = torch.cuda.mem_get_info(device)[1]
    try:
        limit_memory(device, 0.1)
        assert free_memory(device) <= 0.1 * total
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(int(0.1 * total), dtype=torch.uint8, device=device)
        torch.empty(int(0.05 * total), dtype=torch.uint8, device=device)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def test_too_few_gpus_for_one_training_are_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_gpu_count(2)
    with pytest.raises(DeviceError, match="4 GPUs were requested for one training but torch sees 2: use fewer"):
        check_gpu_count(4)
