import numpy as np
import pytest
import torch

import trainables.core.data.batches
from trainables.core.data.augment.augmenter import Augmenter
from trainables.core.data.augment.batched.batch_augmenter import BatchAugmenter
from trainables.core.data.augment.policies import PolicyOptions
from trainables.core.data.batches import (
    Shown,
    Table,
    as_tensor,
    augmented_batches,
    augmented_on_device,
    batches,
    drawn_variants,
    fits,
    resident,
    to_device,
)

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 9, 9, 1), dtype=np.uint8)
LABELS = np.arange(12)
TABLE = Table(torch.from_numpy(IMAGES), torch.from_numpy(LABELS))


@pytest.mark.parametrize("batch_size", [1, 5, 12, 50])
def test_batches_have_every_row_once_in_order(batch_size):
    order = np.random.default_rng(1).permutation(12)
    taken = list(batches(TABLE, order, batch_size))
    assert [len(targets) for _, targets in taken[:-1]] == [batch_size] * (len(taken) - 1)
    np.testing.assert_array_equal(np.concatenate([targets.numpy() for _, targets in taken]), order)
    np.testing.assert_array_equal(np.concatenate([pixels.numpy() for pixels, _ in taken]), IMAGES[order])


def test_a_batch_can_be_written_into_without_changing_the_table():
    next(batches(TABLE, np.arange(12), 12))[0].zero_()
    np.testing.assert_array_equal(TABLE.inputs.numpy(), IMAGES)


def test_a_channels_last_table_gives_channels_last_images():
    images = torch.randn(6, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    table = Table(images.permute(0, 2, 3, 1).contiguous(), torch.arange(6), channels_last=True)
    inputs, _ = next(batches(table, np.array([4, 0, 2]), 3))
    assert torch.equal(inputs, images[[4, 0, 2]])
    assert inputs.is_contiguous(memory_format=torch.channels_last)


def test_a_read_only_array_is_wrapped_without_a_copy_or_a_warning(recwarn):
    array = IMAGES.copy()
    array.flags.writeable = False
    assert as_tensor(array).data_ptr() == array.ctypes.data
    assert not recwarn.list


def test_a_table_stays_mapped_on_the_cpu():
    assert not fits(1, torch.device("cpu"))
    assert resident(TABLE, torch.device("cpu")) is TABLE


@pytest.mark.parametrize(("free", "moves"), [(4 * IMAGES.nbytes, True), (4 * IMAGES.nbytes - 1, False)])
def test_a_gpu_takes_tables_up_to_a_quarter_of_its_free_memory(monkeypatch, free, moves):
    monkeypatch.setattr(trainables.core.data.batches, "free_memory", lambda device: free)
    assert fits(IMAGES.nbytes, torch.device("cuda")) == moves


def test_masks_count_towards_the_size_of_a_table(monkeypatch):
    masks = TABLE._replace(targets=TABLE.inputs[..., 0])
    monkeypatch.setattr(trainables.core.data.batches, "free_memory", lambda device: 4 * IMAGES.nbytes)
    assert resident(masks, torch.device("cuda")) is masks


def test_a_table_stays_on_the_cpu_if_the_gpu_is_full_after_all(monkeypatch):
    """Two trials on one GPU may both have found enough free memory."""

    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(trainables.core.data.batches, "free_memory", lambda device: 10**12)
    monkeypatch.setattr(torch.Tensor, "to", fail)
    assert resident(TABLE, torch.device("cuda")) is TABLE


@pytest.mark.gpu
def test_batches_are_copied_to_the_gpu_while_it_computes():
    order, device = np.random.default_rng(1).permutation(12), torch.device("cuda")
    torch.ones(1, device=device)  # the first call starts CUDA
    torch.cuda.set_sync_debug_mode("error")
    try:
        taken = []
        for inputs, targets in to_device(batches(TABLE, order, 5), device):
            torch.cuda._sleep(10**7)  # the GPU is busy while the next batch is copied
            taken.append((inputs + 0, targets + 0))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    np.testing.assert_array_equal(torch.cat([inputs for inputs, _ in taken]).cpu().numpy(), IMAGES[order])
    np.testing.assert_array_equal(torch.cat([targets for _, targets in taken]).cpu().numpy(), LABELS[order])


@pytest.mark.gpu
def test_memory_does_not_grow_with_the_number_of_passes():
    order, device = np.random.default_rng(1).permutation(12), torch.device("cuda", 0)
    reserved = []
    for _ in range(20):
        for inputs, _targets in to_device(batches(TABLE, order, 5), device):
            inputs.float().sum()
        reserved.append(torch.cuda.memory_reserved(device))
    assert reserved[-1] == reserved[2]


@pytest.mark.gpu
def test_a_resident_table_gives_the_same_batches():
    order = np.random.default_rng(1).permutation(12)
    on_gpu = list(batches(resident(TABLE, torch.device("cuda")), order, 5))
    assert all(inputs.is_cuda and targets.is_cuda for inputs, targets in on_gpu)
    np.testing.assert_array_equal(np.concatenate([inputs.cpu().numpy() for inputs, _ in on_gpu]), IMAGES[order])


@pytest.mark.parametrize("order", [np.arange(12), np.array([3, 3, 3, 7, 3, 7, 0, 0, 0, 0])])
@pytest.mark.parametrize("build", [Augmenter, BatchAugmenter])
def test_drawn_variants_are_those_that_augmentation_draws(order, build):
    augment = build("flip", PolicyOptions(9), seed=4)
    for epoch in (1, 2):
        if build is Augmenter:
            shown = augmented_batches(IMAGES, LABELS, Shown.of(order), 5, augment, epoch, threads=2)
        else:
            shown = augmented_on_device(TABLE, Shown.of(order), 5, augment, epoch, torch.device("cpu"))
        augmented = np.concatenate([pixels.numpy() for pixels, _ in shown])
        mirrored = drawn_variants(Shown.of(order), augment, epoch)
        expected = np.where(mirrored[:, None, None, None] == 1, IMAGES[order][:, :, ::-1], IMAGES[order])
        np.testing.assert_array_equal(augmented, expected)
        assert 0 < mirrored.sum() < len(order)
