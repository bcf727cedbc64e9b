"""Phantoms are reproducible, imbalanced like the real data set, and leak by subject like it."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional

from trainables.core.data.readers.phantoms import (
    CLASS_NAMES,
    SLICES_PER_SUBJECT,
    Phantoms,
    iterate_subjects,
    make_phantoms,
)

LINEAR_BOUND = 0.6  # balanced accuracy that no linear model reaches on held-out subjects

HELD_OUT = StratifiedGroupKFold(4, shuffle=True, random_state=0)  # whole subjects
STRADDLING = StratifiedKFold(4, shuffle=True, random_state=0)  # by image, so that subjects straddle the split


@pytest.fixture(scope="module")
def phantoms() -> Phantoms:
    return make_phantoms()


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_arrays_and_their_ranges(phantoms: Phantoms) -> None:
    count = 200 * SLICES_PER_SUBJECT
    assert phantoms.images.shape == (count, 64, 64)
    assert phantoms.labels.shape == phantoms.subjects.shape == (count,)
    assert phantoms.images.dtype == np.uint8
    assert phantoms.labels.dtype == phantoms.subjects.dtype == np.int64
    assert phantoms.images.min() == 0
    assert phantoms.images.max() == 255
    assert (np.ptp(phantoms.images.reshape(count, -1), axis=1) > 100).all(), "a slice is nearly blank"
    assert phantoms.class_names == CLASS_NAMES
    assert all(name.startswith("phantom_") for name in CLASS_NAMES)
    np.testing.assert_array_equal(np.unique(phantoms.labels), range(4))


def test_the_seed_determines_every_bit_and_the_global_generator_is_untouched() -> None:
    np.random.seed(1)
    first, state = make_phantoms(60, 32, seed=3), np.random.get_state()[1].copy()
    np.random.seed(2)
    second = make_phantoms(60, 32, seed=3)
    for name in ("images", "labels", "subjects"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    np.random.seed(1)
    np.testing.assert_array_equal(state, np.random.get_state()[1])


def test_another_seed_gives_other_subjects() -> None:
    first, second = make_phantoms(60, 32, seed=3), make_phantoms(60, 32, seed=4)
    assert (first.images != second.images).any(axis=(1, 2)).all()
    assert (first.labels != second.labels).any()


def test_the_iterator_yields_the_same_subjects() -> None:
    whole = make_phantoms(60, 32, seed=3)
    for subject, (label, images) in enumerate(iterate_subjects(60, 32, seed=3)):
        np.testing.assert_array_equal(images, whole.images[whole.subjects == subject])
        assert (whole.labels[whole.subjects == subject] == label).all()


def test_no_slice_repeats_another(phantoms: Phantoms) -> None:
    assert len(np.unique(phantoms.images.reshape(len(phantoms.images), -1), axis=0)) == len(phantoms.images)


def test_the_shares_are_near_the_real_ones_and_each_class_splits_into_four_parts(phantoms: Phantoms) -> None:
    shares = np.bincount(phantoms.labels) / len(phantoms.labels)
    np.testing.assert_allclose(shares, np.array([896, 64, 3200, 2240]) / 6400, atol=0.055)
    subjects, first = np.unique(phantoms.subjects, return_index=True)
    np.testing.assert_array_equal(subjects, range(200))
    np.testing.assert_array_equal(phantoms.labels[first][phantoms.subjects], phantoms.labels)
    assert np.bincount(phantoms.labels[first]).min() >= 12


@pytest.mark.parametrize("subjects", [60, 61, 99, 301])
def test_the_number_of_subjects_is_exact(subjects: int) -> None:
    labels = np.array([label for label, _ in iterate_subjects(subjects, 16, seed=0)])
    assert len(labels) == subjects
    assert np.bincount(labels).min() >= 12


@pytest.mark.parametrize(("subjects", "size", "seed"), [(59, 64, 0), (200, 15, 0), (200, 64, -1)])
def test_arguments_below_their_minimum_raise(subjects: int, size: int, seed: int) -> None:
    with pytest.raises(ValueError, match=rf"subjects={subjects}, size={size}, seed={seed}"):
        make_phantoms(subjects, size, seed)


def halved(phantoms: Phantoms) -> np.ndarray:
    """Return means of 2 x 2 pixels, shape (N, H/2, W/2): they are enough here and take a quarter of the time."""
    count, height, width = phantoms.images.shape
    return phantoms.images.reshape(count, height // 2, 2, width // 2, 2).mean(axis=(2, 4), dtype=np.float32)


def accuracies(phantoms: Phantoms, splitter: StratifiedGroupKFold | StratifiedKFold) -> dict[str, float]:
    """Cross-validated balanced accuracy of linear models on standardised pixels, and of the nearest neighbour."""
    pixels = halved(phantoms).reshape(len(phantoms.images), -1)
    models = {
        f"C={strength}": LogisticRegression(C=strength, class_weight="balanced", max_iter=200)
        for strength in (1e-4, 1e-2)
    } | {"nearest": KNeighborsClassifier(1)}
    scores = {}
    for name, model in models.items():
        predicted = cross_val_predict(
            make_pipeline(StandardScaler(), model), pixels, phantoms.labels, groups=phantoms.subjects, cv=splitter
        )
        scores[name] = float(balanced_accuracy_score(phantoms.labels, predicted))
    return scores


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # scikit-learn: the splitter by image ignores groups
def test_pixels_identify_the_subject_and_not_the_class(phantoms: Phantoms) -> None:
    held_out, straddling = accuracies(phantoms, HELD_OUT), accuracies(phantoms, STRADDLING)
    # The best strength of each kind, which flatters the linear model where it must fail.
    assert max(held_out.values()) < LINEAR_BOUND, held_out
    assert held_out["nearest"] < 0.45, held_out
    assert straddling["C=0.01"] > 0.9, straddling
    assert straddling["nearest"] > 0.9, straddling


def small_network(width: int = 8) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in zip((1, width, 2 * width, 4 * width), (width, 2 * width, 4 * width, 8 * width), strict=True):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8 * width, 4))


def train(network: nn.Sequential, images: Tensor, labels: Tensor, learning_rate: float, epochs: int) -> None:
    """AdamW, one cycle, classes drawn equally often, left-right flips."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=0.01)
    steps = epochs * -(-len(images) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps + 1)
    weights = (1 / torch.bincount(labels).double())[labels]
    for _ in range(epochs):
        for batch in torch.multinomial(weights, len(images), replacement=True).split(64):
            pixels = images[batch].flip(3) if torch.rand(()) < 0.5 else images[batch]
            loss = functional.cross_entropy(network(pixels), labels[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_small_network_beats_the_linear_model_on_held_out_subjects_if_well_trained(phantoms: Phantoms) -> None:
    images = torch.from_numpy(halved(phantoms)).sub(50).div(75)[:, None].contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(phantoms.labels)
    parts = list(HELD_OUT.split(phantoms.images, phantoms.labels, phantoms.subjects))[:2]  # two, for the time it takes
    truth = phantoms.labels[np.concatenate([held_out for _, held_out in parts])]
    score = {}
    for learning_rate in (1e-2, 1e-5):
        predicted = []
        for training, held_out in parts:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                network = small_network().to(memory_format=torch.channels_last)
                train(network, images[training], labels[training], learning_rate, epochs=10)
            with torch.no_grad():
                predicted.append(network.eval()(images[held_out]).argmax(1).numpy())
        score[learning_rate] = balanced_accuracy_score(truth, np.concatenate(predicted))
    assert score[1e-2] > LINEAR_BOUND, score
    assert score[1e-2] > score[1e-5] + 0.15, score
