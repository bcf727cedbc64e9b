import albumentations as A
import numpy as np
import pytest
import torch
from scipy import stats
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.waits import Waits
from trainables.core.data.augment.augmenter import Augmenter
from trainables.core.data.augment.batched import geometry
from trainables.core.data.augment.batched.batch_augmenter import BatchAugmenter, Parameters
from trainables.core.data.augment.batched.operation import Pixels
from trainables.core.data.augment.policies import POLICIES, PolicyOptions, source_size
from trainables.core.data.batches import Shown, Table, augmented_on_device

CPU = torch.device("cpu")
CHANGING = [policy for policy in POLICIES if policy != "none"]


def scene(side, channels):
    """An image without symmetry whose interpolation hardly matters, and its mask."""
    rows, columns = np.mgrid[:side, :side] / side
    waves = [90 + 70 * np.sin(5 * columns + k) * np.cos(4 * rows - k) + 40 * columns for k in range(channels)]
    return np.stack(waves, axis=2).clip(0, 255).astype(np.uint8), ((columns > 0.3) & (rows > 0.4)).astype(np.uint8)


def in_batches(augment, image, mask, count, epoch=1):
    """Return the results of one image and mask as images 0, 1, ..., count - 1 of a data set."""
    parameters = augment.draw(np.arange(count), np.zeros(count, dtype=np.int64), epoch)
    results = []
    for drawn in parameters.split(100):
        images = torch.from_numpy(image).repeat(len(drawn.values), 1, 1, 1)
        results.append(augment(Pixels(images, torch.from_numpy(mask).repeat(len(images), 1, 1)), drawn))
    return tuple(np.concatenate([part[k].numpy() for part in results]) for k in range(2))


def standard_scores(ours, theirs, count):
    """Return the differences of means over draws, in standard errors. Values that hardly vary are left out."""
    variances = ours.var(0) + theirs.var(0)
    varying = variances > 1e-2 * variances.max()
    return ((ours.mean(0) - theirs.mean(0)) / np.sqrt(np.maximum(variances, 1e-9) / count))[varying]


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("policy", CHANGING)
def test_the_mean_and_variance_of_every_pixel_are_those_of_albumentations(policy, channels):
    """Over 1500 draws, 600 for colours. Pixels of an image are correlated, so all deviate alike if they do."""
    count = 1500 if channels == 1 else 600
    options, (image, mask) = PolicyOptions(32), scene(source_size(policy, 32), channels)
    single = Augmenter(policy, options, seed=0)
    theirs, their_masks = map(np.stack, zip(*(single.pair(image, mask, k, 1) for k in range(count)), strict=True))
    ours, our_masks = in_batches(BatchAugmenter(policy, options, seed=0), image, mask, count)
    middle = theirs.mean(0)
    moments = [(ours, theirs), (np.square(ours - middle), np.square(theirs - middle)), (our_masks, their_masks)]
    for mine, other in moments:
        scores = standard_scores(mine.astype(float), other.astype(float), count)
        assert np.linalg.norm(scores) <= 2.2 * np.sqrt(len(scores))
        assert np.abs(scores).max(initial=0) < 4.5


def test_the_steps_of_a_policy_happen_as_often_as_they_should_and_independently():
    count = 4000
    augment = BatchAugmenter("medical", PolicyOptions(32), seed=0)
    parameters = augment.draw(np.arange(count), np.zeros(count, dtype=np.int64), 1).values
    flips, turns, elastic, gamma = parameters.T.numpy()
    shares = {"flip": (flips == 1, 0.5), "turn": (turns > 0, 0.3 * 3 / 4), "elastic": (elastic == 1, 0.2)}
    shares["gamma"] = (gamma != 1, 0.2)
    for happens, share in shares.values():
        assert abs(happens.mean() - share) < 4 * np.sqrt(share * (1 - share) / count)
    assert stats.kstest(gamma[gamma != 1], stats.uniform(0.8, 0.4).cdf).pvalue > 0.001
    correlations = np.corrcoef([happens for happens, _ in shares.values()])
    assert np.abs(correlations - np.eye(4)).max() < 4 / np.sqrt(count)


def test_rand_augment_draws_its_operations_and_signs_uniformly():
    """One operation: 3 of 10 are plain, one of them the identity; rotation is one of five affine ones."""
    count = 4000
    augment = BatchAugmenter("rand_augment", PolicyOptions(32, 1, 30), seed=0)
    values = augment.draw(np.arange(count), np.zeros(count, dtype=np.int64), 1).values.numpy()
    assert values.shape[1] == 1 + 1 + 1 + 6 + 12  # flip, autocontrast, equalize, affine, jitter
    autocontrast, equalize, affine, jitter = values[:, 1], values[:, 2], values[:, 3:9], values[:, 9:]
    neutral = [1, 0, 0, 0, 1, 0]
    moved, jittered = (affine != neutral).any(1), (jitter != [1, 0, 0, 0] * 3).any(1)
    rotated, mirrored = np.abs(affine[:, 0] - 1) > 1e-3, affine[:, 1] > 1e-3
    for happens, share in (
        (autocontrast == 1, 0.1), (equalize == 1, 0.1), (moved, 0.5), (jittered, 0.2), (rotated, 0.1),
        (rotated & mirrored, 0.05), ((jitter.reshape(-1, 3, 4)[:, :, 0] == 1.5).any(1), 0.1),
    ):  # fmt: skip
        assert abs(happens.mean() - share) < 4 * np.sqrt(share * (1 - share) / count)
    assert ((autocontrast == 1).astype(int) + (equalize == 1) + moved + jittered).max() == 1


@pytest.mark.parametrize("erasing", [0.0, 0.5])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("policy", CHANGING)
def test_an_image_is_changed_alike_alone_and_in_any_batch(policy, channels, erasing):
    side = source_size(policy, 32)
    images = np.random.default_rng(0).integers(0, 256, (12, side, side, channels), dtype=np.uint8)
    table = Table(torch.from_numpy(images), torch.from_numpy(images[..., 0].copy()))
    order = np.array([3, 7, 3, 0, 11, 3, 8, 7])

    def shown(order, batch_size, epoch=2, seed=5):
        augment = BatchAugmenter(policy, PolicyOptions(32), seed, erasing)
        parts = list(augmented_on_device(table, Shown.of(order), batch_size, augment, epoch, CPU))
        return tuple(torch.cat(part) for part in zip(*parts, strict=True))

    pixels, masks = shown(order, 8)
    assert pixels.shape == (8, 32, 32, channels) and pixels.dtype == torch.uint8
    assert masks.shape == (8, 32, 32) and masks.dtype == torch.uint8
    for batch_size in (1, 3):
        again = shown(order, batch_size)
        assert torch.equal(again[0], pixels) and torch.equal(again[1], masks)
    rotated = shown(np.roll(order, 3)[[3, 4, 5]], 3)  # the first images of the order
    assert torch.equal(rotated[0], pixels[:3]) and torch.equal(rotated[1], masks[:3])
    assert not torch.equal(shown(order, 8, epoch=3)[0], pixels)
    assert not torch.equal(shown(order, 8, seed=6)[0], pixels)


def test_an_image_drawn_twice_looks_different():
    images = torch.randint(0, 256, (1, 32, 32, 1), dtype=torch.uint8)
    augment, order = BatchAugmenter("medical", PolicyOptions(32), seed=0), np.zeros(40, dtype=np.int64)
    ((pixels, _),) = augmented_on_device(Table(images, torch.zeros(1)), Shown.of(order), 40, augment, 1, CPU)
    assert len(pixels.unique(dim=0)) > 4


def test_parameters_do_not_depend_on_how_many_batches_are_drawn_together(monkeypatch):
    images = torch.randint(0, 256, (50, 32, 32, 1), dtype=torch.uint8)
    augment, order = BatchAugmenter("medical", PolicyOptions(32), seed=0), np.random.default_rng(0).permutation(50)
    table = Table(images, torch.arange(50))
    whole = list(augmented_on_device(table, Shown.of(order), 4, augment, 1, CPU))
    assert len(whole) == 13
    monkeypatch.setattr("trainables.core.data.batches._DRAWN_BATCHES", 2)
    parts = augmented_on_device(table, Shown.of(order), 4, augment, 1, CPU)
    for (pixels, labels), (again, same) in zip(whole, parts, strict=True):
        assert torch.equal(pixels, again) and torch.equal(labels, same)


def test_none_is_the_identity_unless_it_erases():
    assert BatchAugmenter("none", PolicyOptions(32), seed=0).is_identity
    assert not BatchAugmenter("none", PolicyOptions(32), seed=0, erasing=0.1).is_identity
    assert not BatchAugmenter("flip", PolicyOptions(32), seed=0).is_identity


def test_masks_are_never_erased():
    image, mask = scene(32, 1)
    images, masks = in_batches(BatchAugmenter("none", PolicyOptions(32), seed=0, erasing=1.0), image, mask, 20)
    assert (images != image).any((1, 2, 3)).all() and (masks == mask).all()


# The settings that the equals for batches read. All others must have their defaults.
READ = {
    A.HorizontalFlip: (), A.VerticalFlip: (), A.RandomRotate90: (), A.NoOp: (), A.Equalize: ("mode",),
    A.RandomResizedCrop: ("size", "scale", "ratio"), A.Affine: ("rotate", "shear", "translate_percent", "border_mode"),
    A.ElasticTransform: ("alpha", "sigma"), A.RandomGamma: ("gamma_limit",), A.AutoContrast: ("method",),
    A.ColorJitter: ("brightness", "contrast", "saturation", "hue"), A.GaussNoise: ("std_range",),
}  # fmt: skip


@pytest.mark.parametrize("policy", CHANGING)
def test_no_policy_has_a_setting_that_batches_ignore(policy):
    waiting = list(POLICIES[policy](PolicyOptions(32)))
    while waiting:
        transform = waiting.pop()
        if isinstance(transform, A.OneOf):
            waiting += transform.transforms
            continue
        settings = transform.get_transform_init_args()
        read = {name: settings[name] for name in READ[type(transform)] if settings[name] is not None}
        assert type(transform)(**read, p=transform.p).get_transform_init_args() == settings
        assert (settings.get("mode"), settings.get("method")) in ((None, None), ("cv", None), (None, "pil"))
        assert settings.get("hue", (0.0, 0.0)) == (0.0, 0.0)


@pytest.mark.parametrize("policy", CHANGING)
def test_applying_a_policy_never_waits_for_the_device(policy):
    side = source_size(policy, 32)
    augment = BatchAugmenter(policy, PolicyOptions(32), seed=0, erasing=0.5)
    parameters = augment.draw(np.arange(4), np.zeros(4, dtype=np.int64), 1)
    pixels = Pixels(torch.zeros(4, side, side, 3, dtype=torch.uint8), torch.zeros(4, side, side, dtype=torch.uint8))
    augment(pixels, parameters)  # the first batch moves constants to the device
    with Waits() as waits:
        augment(pixels, parameters)
    assert waits.count == 0


@pytest.mark.gpu
@pytest.mark.parametrize("policy", CHANGING)
def test_the_gpu_changes_images_as_the_cpu_does_and_never_waits(policy):
    """Interpolation and the noise of pixels may be rounded differently, by one grey level."""
    side, gpu = source_size(policy, 64), torch.device("cuda")
    image, mask = scene(side, 3)
    images, masks = torch.from_numpy(image).repeat(64, 1, 1, 1), torch.from_numpy(mask).repeat(64, 1, 1)
    order = np.arange(64)
    augment = BatchAugmenter(policy, PolicyOptions(64), seed=0, erasing=0.3)
    ((expected, expected_masks),) = augmented_on_device(Table(images, masks), Shown.of(order), 64, augment, 1, CPU)
    on_gpu = Table(images.to(gpu), masks.to(gpu))
    next(augmented_on_device(on_gpu, Shown.of(order), 64, augment, 1, gpu))
    torch.cuda.set_sync_debug_mode("error")
    try:
        ((pixels, changed),) = augmented_on_device(on_gpu, Shown.of(order), 64, augment, 1, gpu)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    difference = (pixels.cpu().int() - expected.int()).abs()
    assert (difference > 1).float().mean() < 1e-3 and (difference > 0).float().mean() < 0.02
    assert (changed.cpu() != expected_masks).float().mean() < 1e-3


@pytest.mark.parametrize("policy", CHANGING)
def test_no_operation_on_a_gpu_meets_a_tensor_on_the_cpu(policy, monkeypatch):
    """Fake tensors have a device and a shape but no values, so no GPU is needed. Mixed devices raise."""
    monkeypatch.setattr(torch.backends.cudnn, "enabled", False)  # its version is asked of the driver
    monkeypatch.setattr(geometry, "_blur", geometry._blur.__wrapped__)  # its cache would keep fake tensors
    options, side = PolicyOptions(32), source_size(policy, 32)
    augment = BatchAugmenter(policy, options, seed=0, erasing=0.5)
    drawn = augment.draw(np.arange(4), np.zeros(4, dtype=np.int64), 1)
    with FakeTensorMode():
        on_gpu = Parameters(*(torch.empty(part.shape, dtype=part.dtype, device="cuda") for part in drawn))
        images = torch.empty((4, side, side, 3), dtype=torch.uint8, device="cuda")
        changed = augment(Pixels(images, images[..., 0]), on_gpu)
    assert changed.images.is_cuda and changed.masks.is_cuda
    assert (changed.images.dtype, tuple(changed.images.shape)) == (torch.uint8, (4, 32, 32, 3))
