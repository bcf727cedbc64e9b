import csv
import io
import itertools
import re

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw
from threadpoolctl import threadpool_info, threadpool_limits

from analysis.report.thumbnails import align
from trainables.core.data.audited_dataset import inspect
from trainables.core.data.decode.images import SIDE
from trainables.core.data.readers.phantoms import make_phantoms
from trainables.core.data.splits.copies import DETAIL_SIDE, SAME, find_copies
from trainables.core.data.splits.groups import group_by_similarity

BIG = 2 * DETAIL_SIDE


def texture(generator):
    """A BIG x BIG image of blobs of many sizes."""
    scales = (cv2.GaussianBlur(generator.normal(size=(BIG, BIG)), (0, 0), sigma) * sigma for sigma in (2, 4, 8, 16))
    image = sum(scales)
    return np.clip(128 + 45 * image / image.std(), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def textures():
    generator = np.random.default_rng(0)
    return [texture(generator) for _ in range(12)]


def moved(image, degrees=0.0, zoom=1.0, mirrored=False, shift=(0, 0), stretch=1.0, quality=85):
    """Rotate counter-clockwise, zoom about a shifted centre, mirror about the horizontal axis, and save as JPEG."""
    centre = (BIG - 1) / 2
    matrix = cv2.getRotationMatrix2D((centre + shift[0], centre + shift[1]), degrees, zoom)
    matrix[0] *= stretch
    buffer = io.BytesIO()
    image = cv2.warpAffine(image, matrix, (BIG, BIG), borderMode=cv2.BORDER_REFLECT_101)
    Image.fromarray(np.ascontiguousarray(image[::-1]) if mirrored else image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def detail(images):
    smaller = [Image.fromarray(image).resize((DETAIL_SIDE, DETAIL_SIDE), Image.Resampling.BILINEAR) for image in images]
    return np.stack([np.asarray(image) for image in smaller])[..., None]


def copies_of(images):
    return find_copies(detail(images), np.arange(len(images)))


@pytest.mark.parametrize(
    "change",
    [
        {"degrees": 20},
        {"degrees": 200, "mirrored": True},
        {"zoom": 1.8},
        {"zoom": 1.5, "shift": (40, -30)},
        {"degrees": -65, "zoom": 1.4, "mirrored": True, "shift": (20, 20)},
        {"degrees": 15, "zoom": 1.3, "stretch": 1.25, "quality": 60},
    ],
    ids=["rotated", "mirrored and rotated", "zoomed", "cropped", "all", "stretched"],
)
def test_a_changed_copy_is_found_with_its_alignment(textures, change):
    (pair,) = copies_of([*textures, moved(textures[4], **change)])
    assert (pair.first, pair.second) == (4, len(textures))
    assert pair.similarity >= SAME
    assert pair.mirrored == change.get("mirrored", False)
    assert pair.zoom == pytest.approx(change.get("zoom", 1) * change.get("stretch", 1) ** 0.5, rel=0.03)
    if "stretch" not in change:
        assert abs((pair.degrees - change.get("degrees", 0) + 180) % 360 - 180) < 2


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_report_aligns_a_copy_by_its_degrees(textures, mirrored):
    images = detail([*textures, moved(textures[0], degrees=70, mirrored=mirrored)])
    (pair,) = find_copies(images, np.arange(len(images)))
    aligned = align(images[pair.second], pair.degrees, pair.mirrored)
    middle = slice(DETAIL_SIDE // 3, 2 * DETAIL_SIDE // 3)
    first, second = (image[middle, middle].ravel() for image in (images[pair.first], aligned))
    assert np.corrcoef(first, second)[0, 1] > 0.9


def test_unrelated_images_are_no_copies_even_with_the_same_text_and_frame(textures):
    framed = []
    for image in textures:
        framed.append(Image.fromarray(image))
        draw = ImageDraw.Draw(framed[-1])
        draw.rectangle((4, 4, BIG - 5, BIG - 5), outline=255, width=3)
        draw.rectangle((0, 0, BIG, 28), fill=0)
        draw.text((8, 6), "HOSPITAL 12:30  5 cm  L", fill=255, font_size=18)
        draw.text((8, BIG - 30), "P 40  DR 60", fill=255, font_size=18)
    assert copies_of([np.asarray(image) for image in framed]) == ()


def test_images_that_cannot_be_used_are_not_compared(textures):
    images = detail([textures[0], textures[0], textures[1], textures[1]])
    assert [(pair.first, pair.second) for pair in find_copies(images, np.array([0, 2, 3]))] == [(2, 3)]
    assert find_copies(images, np.array([], dtype=np.int64)) == ()
    assert find_copies(np.zeros_like(images), np.arange(4)) == ()


def test_slices_of_phantoms_of_different_subjects_are_no_copies():
    phantoms = make_phantoms(subjects=60)
    images, subjects = phantoms.images[::3], phantoms.subjects[::3]
    copies = copies_of([np.asarray(Image.fromarray(image).resize((BIG, BIG))) for image in images])
    assert copies
    assert all(subjects[pair.first] == subjects[pair.second] for pair in copies)


def test_copies_share_a_group_at_any_threshold(textures):
    images = [*textures, moved(textures[4], zoom=1.8)]
    copies = copies_of(images)
    pixels = np.stack([cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for image in images])[..., None]
    labels = np.zeros(len(images), dtype=np.int64)
    for threshold in (None, 0.995):
        found = group_by_similarity(pixels, np.arange(len(images)), labels, threshold, copies)
        assert found.groups[4] == found.groups[-1]
        assert len(np.unique(found.groups)) == len(textures)
        assert (4, len(textures)) in [(pair.first, pair.second) for pair in found.pairs]
        without = group_by_similarity(pixels, np.arange(len(images)), labels, threshold)
        assert len(np.unique(without.groups)) == len(images)


def pairs_of(groups):
    members = [np.flatnonzero(groups == group).tolist() for group in np.unique(groups)]
    return {pair for together in members for pair in itertools.combinations(together, 2)}


@pytest.mark.slow
def test_tissue_groups_are_those_of_a_review_by_hand(real_data, tmp_path):
    """Takes about 15 seconds: 600 images."""
    truth = real_data / "tissue_groups.csv"
    if not truth.is_file():
        pytest.skip(f"{truth} is missing")
    with truth.open(newline="") as opened:
        group_of = {row["image"]: row["group"] for row in csv.DictReader(opened)}
    data = inspect(str(real_data / "tissue"), store=tmp_path)
    true = pairs_of(np.array([group_of[name] for name in data.open_source().names]))
    found = pairs_of(data.groups)
    assert len(true) == 293
    assert len(found & true) >= 0.9 * len(true)
    assert len(found & true) >= 0.99 * len(found)


def test_chest_xrays_of_different_patients_are_no_copies(real_data):
    """Takes about 10 seconds: 400 X-rays."""
    files = sorted((real_data / "chest_xray").rglob("*.jp*g"))
    files = files[:: max(1, len(files) // 400)]
    images = [Image.open(file).convert("L").resize((DETAIL_SIDE, DETAIL_SIDE)) for file in files]
    patients = [re.sub(r"[-_]\d+\.jpe?g$", "", file.name) for file in files]
    copies = find_copies(np.stack([np.asarray(image) for image in images])[..., None], np.arange(len(files)))
    false = [pair for pair in copies if patients[pair.first] != patients[pair.second]]
    assert len(false) <= len(files) / 200


def test_pairs_are_compared_with_one_blas_thread_each(textures):
    seen = []
    with threadpool_limits(2, "blas"):
        images = detail(textures)
        find_copies(images, np.arange(len(images)), lambda _: seen.append(blas_threads()))
        assert blas_threads() == {2}
    assert seen[-1] == {1}


def blas_threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}
