import ctypes
import importlib.util
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trainables.core.device import (
    _warn_once,
    allocatable_share,
    check_gpu_count,
    exact_float32,
    free_memory,
    halve_until_it_fits,
    limit_memory,
    memory_errors,
    resolve_device,
    share_of_others,
)
from trainables.core.errors import DeviceError

GIB = 2**30
# Messages of torch 2.15, and of cuBLAS, cuDNN 8 and 9, and NCCL.
FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
    RuntimeError("GET was unable to find an engine to execute this computation"),
    RuntimeError("FIND was unable to find an engine to execute this computation"),
    RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"),
    RuntimeError(
        "NCCL error in: ProcessGroupNCCL.cpp:94, unhandled cuda error (run with NCCL_DEBUG=INFO for details)\n"
        "ncclUnhandledCudaError: Call to CUDA function failed.\nLast error:\nCuda failure 2 'out of memory'"
    ),
]
BROKEN = [
    RuntimeError("Found no NVIDIA driver on your system."),
    AssertionError("Torch not compiled with CUDA enabled"),
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("NCCL error in: ProcessGroupNCCL.cpp:94\nLast error:\nCuda failure 700 'an illegal memory access'"),
]


def raising(error):
    def raise_it(*args, **kwargs):
        raise error

    return raise_it


@pytest.mark.parametrize("error", FULL, ids=str)
def test_every_failed_allocation_is_an_out_of_memory_error(error):
    with pytest.raises(torch.OutOfMemoryError) as raised, memory_errors():
        raise error
    line = str(raised.value)  # the one that tells of the memory, to be shown
    assert line in map(str.strip, str(error).splitlines())
    assert any(
        part in line.lower() for part in ("out of memory", "alloc", "not_initialized", "an engine", "a valid cudnn")
    )


def test_cudnns_own_names_of_failed_allocations_are_recognised():
    """From the library that torch uses, since they change with its version."""
    found = importlib.util.find_spec("nvidia.cudnn")
    libraries = [
        path
        for place in (found.submodule_search_locations if found else ())
        for path in Path(place).glob("lib/libcudnn.so.*")
    ]
    if not libraries:
        pytest.skip("needs cuDNN's library")
    describe = ctypes.CDLL(str(libraries[0])).cudnnGetErrorString
    describe.restype = ctypes.c_char_p
    names = {code: describe(code).decode() for code in (1001, 4003, 4004, 5000)}
    assert len(set(names.values())) == 4
    for code, name in names.items():
        kind = RuntimeError if code == 5000 else torch.OutOfMemoryError
        with pytest.raises(RuntimeError) as raised, memory_errors():
            raise RuntimeError(f"cuDNN error: {name}")
        assert type(raised.value) is kind, name


@pytest.mark.parametrize(("room", "tried"), [(64, [64]), (16, [64, 32, 16]), (1, [64, 32, 16, 8, 4, 2, 1])])
def test_a_batch_is_halved_until_it_fits(room, tried):
    sizes = []

    def run(size):
        sizes.append(size)
        if size > room:
            raise RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED")
        return -size

    assert halve_until_it_fits(run, 64) == -tried[-1]
    assert sizes == tried


def test_what_fits_no_image_or_fails_otherwise_is_an_error():
    with pytest.raises(torch.OutOfMemoryError):
        halve_until_it_fits(raising(FULL[0]), 64)
    with pytest.raises(ValueError, match="struck"):
        halve_until_it_fits(raising(ValueError("struck")), 64)


def test_float32_is_exact_within_the_block():
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic
    with exact_float32():
        assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic) == (False, True)
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic) == before == (True, False)


@pytest.mark.parametrize("error", [*FULL, *BROKEN], ids=str)
def test_auto_falls_back_to_the_cpu_and_says_so_once(monkeypatch, caplog, error):
    _warn_once.cache_clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", raising(error))
    with caplog.at_level(logging.WARNING, "trainables"):
        assert [resolve_device("auto").type for _ in range(2)] == ["cpu", "cpu"]
    (record,) = caplog.records
    assert record.getMessage().startswith("the CPU is used instead of the GPU: ")


def test_a_gpu_that_this_build_of_torch_does_not_support_is_named_with_those_that_it_does(monkeypatch):
    monkeypatch.setattr(torch, "zeros", raising(RuntimeError("CUDA error: no kernel image is available")))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80"])
    with pytest.raises(DeviceError, match=r"no kernel image .*supports sm_75, sm_80: .*--gpus-per-trial 0"):
        resolve_device("cuda")


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
    with pytest.raises(
        DeviceError, match=r"a GPU was requested but torch \S+ cannot use it: .*nvidia-smi.*--gpus-per-trial 0"
    ):
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
    assert share_of_others() == 0 or torch.cuda.is_initialized()


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


@pytest.mark.parametrize(
    ("free", "reserved", "expected"),  # GiB of a GPU with 80 GiB
    [(80 - 0.5, 0, 0), (40, 39, 0), (30, 10, 0.5), (0, 0, 1)],
)
def test_memory_of_others_is_what_is_neither_free_nor_of_this_process(monkeypatch, free, reserved, expected):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gpu: (free * GIB, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda gpu: reserved * GIB)
    assert share_of_others() == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("full", [False, True])
def test_of_several_gpus_the_one_of_which_others_hold_most_counts(monkeypatch, full):
    def mem_get_info(gpu):
        if gpu == 1 and full:
            raise RuntimeError("CUDA error: out of memory")
        return (60 - 20 * gpu) * GIB, 80 * GIB

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", mem_get_info)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda gpu: 0)
    shares = [share_of_others(devices) for devices in (1, 2)]
    assert shares == pytest.approx([0.25, 1.0 if full else 0.5], abs=0.01)


@pytest.mark.gpu
def test_a_limit_can_be_lifted_again():
    device = resolve_device("cuda")
    limit_memory(device, 0.1)
    limit_memory(device, 1)
    assert torch.cuda.get_per_process_memory_fraction(device) == 1


HOLDER = """
import torch
total = torch.cuda.mem_get_info()[1]
held = torch.empty(int(0.3 * total), dtype=torch.uint8, device="cuda")
print(flush=True)
input()
"""


@pytest.mark.gpu
def test_the_memory_of_another_process_is_seen():
    resolve_device("cuda")
    before = share_of_others()
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        during = share_of_others()
        holder.stdin.close()
    assert during - before == pytest.approx(0.3, abs=0.05)


NEIGHBOUR = """
import torch
from trainables.core.device import limit_memory, resolve_device
device = resolve_device("cuda")
limit_memory(device, 0.5)
total, held = torch.cuda.mem_get_info(device)[1], []
try:
    while True:
        held.append(torch.empty(total // 50, dtype=torch.uint8, device=device))
except torch.OutOfMemoryError:
    print(len(held), flush=True)
input()
"""


@pytest.mark.gpu
def test_a_process_that_takes_all_it_may_leaves_its_neighbour_a_share():
    device = resolve_device("cuda")
    total = torch.cuda.mem_get_info(device)[1]
    with subprocess.Popen(
        [sys.executable, "-c", NEIGHBOUR], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as neighbour:
        taken = int(neighbour.stdout.readline())
        try:
            limit_memory(device, 0.5)
            torch.empty(int(0.4 * total), dtype=torch.uint8, device=device)
        finally:
            limit_memory(device, 1)
            neighbour.stdin.close()
    assert 20 <= taken <= 25  # fiftieths of the memory
