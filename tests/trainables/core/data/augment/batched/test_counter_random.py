import numpy as np
import pytest
import torch
from scipy import stats

from trainables.core.data.augment.batched.counter_random import bits, fold, image_keys, normal, random_bytes, uniform

KEYS = image_keys(0, 1, torch.arange(500), torch.zeros(500, dtype=torch.int64))


def test_the_generator_is_splitmix64():
    """The first numbers of the published C program for the seed 1234567."""
    expected = [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821
    ]  # fmt: skip
    assert bits(torch.tensor([1234567]), 5)[0].numpy().view(np.uint64).tolist() == expected


def test_a_number_depends_on_its_key_and_position_only():
    whole = bits(KEYS, 40)
    assert torch.equal(bits(KEYS[[7, 3]], 25), whole[[7, 3], :25])
    assert all(torch.equal(fold(KEYS, position), whole[:, position]) for position in (0, 39))
    assert torch.equal(fold(KEYS, torch.arange(500) % 40), whole[torch.arange(500), torch.arange(500) % 40])


def test_keys_differ_by_seed_epoch_image_and_draw():
    images, draws = torch.arange(50), torch.arange(4)[:, None]
    keys = [image_keys(seed, epoch, images, draws) for seed in (0, 1, 2**32 - 1) for epoch in range(1, 20)]
    assert len(torch.stack(keys).unique()) == 3 * 19 * 4 * 50


def test_uniform_numbers_are_uniform():
    assert stats.kstest(uniform(KEYS, 200).flatten().numpy(), "uniform").pvalue > 0.001


def test_normal_numbers_are_normal():
    numbers = normal(KEYS, 201)
    assert numbers.shape == (500, 201) and numbers.dtype == torch.float32
    assert stats.kstest(numbers.flatten().numpy(), "norm").pvalue > 0.001


def test_bytes_are_uniform():
    drawn = random_bytes(KEYS, 1001)
    assert drawn.shape == (500, 1001) and drawn.dtype == torch.uint8
    assert stats.chisquare(np.bincount(drawn.flatten().numpy(), minlength=256)).pvalue > 0.001


@pytest.mark.parametrize("draw", [uniform, normal, lambda keys, count: random_bytes(keys, count).double()])
def test_images_epochs_and_positions_are_independent(draw):
    """No pair of neighbours is correlated, each within 4.5 standard errors."""
    later = image_keys(0, 2, torch.arange(500), torch.zeros(500, dtype=torch.int64))
    here, next_epoch = draw(KEYS, 200), draw(later, 200)
    pairs = [(here, next_epoch), (here[1:], here[:-1]), (here[:, 1:], here[:, :-1]), (here[:, 100:], here[:, :100])]
    for left, right in pairs:
        correlation = np.corrcoef(left.flatten().numpy(), right.flatten().numpy())[0, 1]
        assert abs(correlation) < 4.5 / left.numel() ** 0.5


@pytest.mark.gpu
def test_the_gpu_draws_the_same_numbers():
    on_gpu = KEYS.cuda()
    assert torch.equal(bits(on_gpu, 100).cpu(), bits(KEYS, 100))
    assert torch.equal(random_bytes(on_gpu, 100).cpu(), random_bytes(KEYS, 100))
    torch.testing.assert_close(normal(on_gpu, 100).cpu(), normal(KEYS, 100), rtol=1e-4, atol=1e-4)
