import io

import cv2
import numpy as np
import pytest
from PIL import Image

from trainables.core.data.readers.phantoms import make_phantoms
from trainables.core.data.splits.groups import LARGEST_SHARE, Grouping, exact_duplicates, group_by_similarity, joined
from trainables.core.data.splits.pairs import Pair
from trainables.core.errors import DataError


@pytest.fixture(scope="module")
def phantoms():
    return make_phantoms(subjects=80)


def jpeg(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=60)
    return np.asarray(Image.open(buffer))


def resized(image):
    side = image.shape[0]
    smaller = Image.fromarray(image).resize((round(0.97 * side),) * 2, Image.Resampling.BILINEAR)
    return np.asarray(smaller.resize((side, side), Image.Resampling.BILINEAR))


def brighter(image):
    return np.clip(image.astype(int) + 30, 0, 255).astype(np.uint8)


def groups_of(images, labels=None, **options):
    labels = np.zeros(len(images), dtype=np.int64) if labels is None else labels
    return group_by_similarity(images[..., None], np.arange(len(images)), labels, **options)


def same_partition(one, other):
    return np.unique(np.stack([one, other]), axis=1).shape[1] == len(np.unique(one)) == len(np.unique(other))


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image,
        jpeg,
        resized,
        brighter,
        lambda image: brighter(resized(jpeg(image))),
    ],
    ids=["as they are", "jpeg", "resized", "brighter", "all three"],
)
def test_groups_of_phantoms_are_their_subjects(phantoms, change):
    found = groups_of(np.stack([change(image) for image in phantoms.images]), phantoms.labels)
    assert same_partition(found.groups, phantoms.subjects)


def test_differently_changed_copies_are_grouped_with_their_subject(phantoms):
    generator = np.random.default_rng(0)
    changes = [lambda image: image, jpeg, resized, brighter]
    mixed = [changes[generator.integers(4)](image) for image in phantoms.images]
    found = groups_of(np.concatenate([phantoms.images, mixed]), np.tile(phantoms.labels, 2))
    assert same_partition(found.groups, np.tile(phantoms.subjects, 2))


def rotated(image, degrees):
    centre = (image.shape[0] - 1) / 2
    matrix = cv2.getRotationMatrix2D((centre, centre), degrees, 1)
    return cv2.warpAffine(image, matrix, image.shape, borderMode=cv2.BORDER_REFLECT_101)


@pytest.mark.parametrize("folder", ["tissue", "chest_xray"])
def test_mirrored_turned_and_rotated_copies_of_real_images_are_found(real_data, folder):
    files = sorted((real_data / folder).rglob("*.jp*g"))
    originals = [np.asarray(Image.open(file).convert("L").resize((128, 128))) for file in files[:: len(files) // 60]]
    generator = np.random.default_rng(0)
    copies = []
    for image in originals:
        image = np.rot90(image, generator.integers(4))
        image = image[:, ::-1] if generator.random() < 0.5 else image
        copies.append(jpeg(rotated(np.ascontiguousarray(image), generator.uniform(-25, 25))))
    both = np.stack([np.asarray(Image.fromarray(image).resize((64, 64))) for image in [*originals, *copies]])
    groups = groups_of(both).groups
    count = len(originals)
    assert (groups[:count] == groups[count:]).all()


def test_the_threshold_is_the_lowest_at_which_no_group_is_too_large(phantoms):
    found = groups_of(phantoms.images, phantoms.labels)
    allowed = [point.threshold for point in found.curve if point.largest <= LARGEST_SHARE * len(phantoms.images)]
    assert found.threshold == min(allowed)
    assert [point.groups for point in found.curve] == sorted(point.groups for point in found.curve)
    accuracies = [point.neighbour_accuracy for point in found.curve]
    assert accuracies[0] < 0.6 < 0.95 < accuracies[-1]  # memory, and what remains without it


@pytest.mark.parametrize("subjects", [4, 8, 14])
def test_subjects_of_a_small_set_are_found_although_each_has_many_of_its_images(phantoms, subjects):
    few = phantoms.subjects < subjects
    found = groups_of(phantoms.images[few], phantoms.labels[few])
    assert found.threshold == found.curve[0].threshold
    assert same_partition(found.groups, phantoms.subjects[few])


def test_a_patient_with_many_images_does_not_divide_the_others(phantoms):
    few = phantoms.subjects < 35
    images, subjects = phantoms.images[few], phantoms.subjects[few]
    more = [change(image) for change in (jpeg, resized, brighter) for image in images[subjects == 0]]
    found = groups_of(np.concatenate([images, more]))
    assert same_partition(found.groups, np.append(subjects, [0] * len(more)))


def test_copies_count_as_one_image_and_stay_together(phantoms):
    """Each of ten subjects has a copy of the same image, so that 12% of all images are in one group."""
    copies = [Pair(6 * subject, 6 * subject + 6, 0.92, 0, False) for subject in range(9)]
    found = groups_of(phantoms.images, phantoms.labels, copies=copies)
    assert found.threshold == found.curve[0].threshold
    assert same_partition(found.groups, np.maximum(phantoms.subjects, 9))


def test_three_copies_in_a_small_set_stay_together(phantoms):
    few = phantoms.subjects < 9
    copies = [Pair(0, 6, 0.92, 0, False), Pair(6, 12, 0.92, 0, False)]
    found = groups_of(phantoms.images[few], phantoms.labels[few], copies=copies)
    assert same_partition(found.groups, np.maximum(phantoms.subjects[few], 2))


def test_a_given_threshold_is_used(phantoms):
    found = groups_of(phantoms.images[:60], phantoms.labels[:60], threshold=0.985)
    assert found.threshold == 0.985
    assert len(np.unique(found.groups)) > 10
    assert 0.985 in [point.threshold for point in found.curve]


def test_pairs_have_their_alignment(phantoms):
    mirrored = phantoms.images[:2, :, ::-1]
    (pair, *_) = [pair for pair in groups_of(np.concatenate([phantoms.images[:2], mirrored])).pairs if pair.mirrored]
    assert pair.similarity > 0.99


def test_identical_images_get_the_highest_threshold():
    one = make_phantoms(subjects=60).images[:1]
    found = groups_of(np.repeat(one, 40, axis=0))
    assert found.threshold == found.curve[-1].threshold
    assert len(np.unique(found.groups)) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, "--group-threshold must be a similarity between 0 and 1, but got 1.5"),
        ({"threshold": 0.9, "column": "patient"}, "give only one of --group-threshold"),
        ({"pattern": "x", "column": "patient"}, "give only one of --group-threshold"),
    ],
)
def test_invalid_groupings_are_refused(options, message):
    with pytest.raises(DataError, match=message):
        Grouping(**options)


def test_exact_duplicates_share_a_number():
    pixels = np.array([[1], [2], [1], [3], [1]], dtype=np.uint8)
    assert exact_duplicates(pixels, np.array([0, 1, 2, 3])).tolist() == [0, 1, 0, 3, 4]


def test_joined_groups_follow_chains():
    one, other = np.array([0, 0, 1, 1, 2, 3]), np.array([5, 6, 6, 7, 8, 8])
    assert same_partition(joined(one, other), np.array([0, 0, 0, 0, 1, 1]))
