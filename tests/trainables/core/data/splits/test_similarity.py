import cv2
import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components

from trainables.core.data.readers.phantoms import make_phantoms
from trainables.core.data.splits import similarity
from trainables.core.data.splits.similarity import (
    SIDE,
    chance_level,
    polar_spectra,
    registration,
    similarity_forest,
)


@pytest.fixture(scope="module")
def phantoms():
    return make_phantoms(subjects=60).images[:120, :, :, None]


def rotated(image, degrees):
    matrix = cv2.getRotationMatrix2D(((SIDE - 1) / 2, (SIDE - 1) / 2), degrees, 1)
    return cv2.warpAffine(image, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT_101)


def brute_force(spectra):
    """(N, N) similarities from the maps themselves, shifted one step at a time."""
    scaled = spectra.numpy().copy()
    scaled[:, :, 1:] /= np.sqrt(2)
    maps = np.fft.irfft(scaled, n=192, axis=2, norm="forward")
    energy = np.einsum("nra,nra->n", maps, maps)
    best = np.full((len(maps), len(maps)), -np.inf)
    for other in (maps, maps[:, :, ::-1]):
        for shift in range(192):
            correlation = np.einsum("ira,jra->ij", maps, np.roll(other, shift, axis=2), optimize=True)
            best = np.maximum(best, correlation / np.sqrt(energy[:, None] * energy))
    return best


@pytest.mark.parametrize("degrees", [-25, -7, 13, 90, 180])
@pytest.mark.parametrize("mirrored", [False, True])
def test_rotated_and_mirrored_copies_are_found(phantoms, degrees, mirrored):
    image = phantoms[0, :, :, 0]
    copy = rotated(np.ascontiguousarray(image[:, ::-1]) if mirrored else image, degrees)
    first, second = polar_spectra(np.stack([image, copy])[..., None])
    found, angle, is_mirrored = registration(first, second)
    assert found > 0.98
    assert is_mirrored == mirrored
    if not mirrored:
        assert abs((angle - degrees + 180) % 360 - 180) < 2


def test_similarities_equal_brute_force(phantoms):
    spectra = polar_spectra(phantoms[:24])
    found = similarity._block(spectra, spectra, -np.inf).numpy()
    np.testing.assert_allclose(found, brute_force(spectra), atol=1e-3)
    np.testing.assert_allclose(found.diagonal(), 1, atol=1e-4)


def test_brightness_and_contrast_do_not_matter(phantoms):
    changed = (phantoms[:8] * 0.6 + 40).astype(np.uint8)
    for first, second in zip(polar_spectra(phantoms[:8]), polar_spectra(changed), strict=True):
        assert registration(first, second)[0] > 0.97


def test_images_without_structure_have_no_links(phantoms):
    images = np.concatenate([phantoms[:2], np.full((2, SIDE, SIDE, 1), 90, np.uint8)])
    forest = similarity_forest(polar_spectra(images), 0.1)
    assert not np.isin(forest.first, [2, 3]).any() and not np.isin(forest.second, [2, 3]).any()


@pytest.mark.parametrize(("rows", "columns", "edges"), [(512, 1024, 10**6), (16, 32, 10), (7, 21, 300)])
def test_the_forest_has_the_components_of_every_threshold(phantoms, monkeypatch, rows, columns, edges):
    monkeypatch.setattr(similarity, "_ROWS", rows)
    monkeypatch.setattr(similarity, "_COLUMNS", columns)
    monkeypatch.setattr(similarity, "_EDGES", edges)
    spectra = polar_spectra(phantoms)
    everything = similarity._block(spectra, spectra, -np.inf).numpy()
    shares = []
    forest = similarity_forest(spectra, 0.7, shares.append)
    assert len(forest.first) < len(phantoms)
    assert shares == sorted(shares) and shares[-1] == 1
    for threshold in (0.7, 0.8, 0.85, 0.9, 0.95):
        expected = connected_components(everything >= threshold, directed=False)[1]
        found = forest.components(threshold)
        pairs = np.unique(np.stack([expected, found]), axis=1)
        assert pairs.shape[1] == len(np.unique(expected)) == len(np.unique(found))


def test_chance_is_far_from_copies():
    noise = np.random.default_rng(0).integers(0, 256, (100, SIDE, SIDE, 1), dtype=np.uint8)
    median, spread = chance_level(polar_spectra(noise), np.random.default_rng(0))
    assert 0 < median < 0.4 and 0 < spread < 0.1
    assert chance_level(polar_spectra(noise[:1]), np.random.default_rng(0)) == (0, 0)
