import numpy as np
import pytest

from tests.images import write_classes
from trainables.core.data.patient_labels import NO_LABEL, describe_mixed_patients, patient_label_sets, patient_labels
from trainables.core.data.prepare import prepare
from trainables.core.data.splits.groups import Grouping

# Patients of the images 7, 7, 3, 3, 9, 9, 1: one label, healthy and one other class, two other classes, one image.
LABELS, PATIENTS = np.array([1, 1, 0, 2, 1, 2, 0]), np.array([7, 7, 3, 3, 9, 9, 1])


@pytest.mark.parametrize(
    ("healthy", "of_3"), [(None, NO_LABEL), (0, 2), (5, NO_LABEL)], ids=["none", "given", "not among the images"]
)
def test_a_patient_has_the_class_of_its_images_or_the_only_one_besides_the_healthy(healthy, of_3):
    np.testing.assert_array_equal(patient_labels(LABELS, PATIENTS, healthy), [0, of_3, 1, NO_LABEL])  # 1, 3, 7, 9


def test_a_healthy_patient_stays_healthy():
    np.testing.assert_array_equal(patient_labels(np.array([1, 1, 0]), np.array([0, 0, 1]), 1), [1, 0])


def test_patients_with_several_labels_are_counted():
    names = ("normal", "viral", "bacterial")
    assert describe_mixed_patients(LABELS, PATIENTS, 0, names) == [
        "patients with images of normal and bacterial count as bacterial: 1",
        "patients with images of several classes are left out of the figures by patient: 1",
    ]
    assert describe_mixed_patients(np.array([0, 0]), np.array([1, 1]), 0, names) == []


def test_a_patient_has_the_labels_of_any_image():
    labels, patients = np.array([[1, 0], [0, 1], [0, 0], [0, 0], [1, 1]]), np.array([8, 8, 2, 2, 5])
    np.testing.assert_array_equal(patient_label_sets(labels, patients), [[0, 0], [1, 1], [1, 1]])  # 2, 5, 8
    (note,) = describe_mixed_patients(labels, patients, None, ("mass", "nodule"))
    assert note == "a patient has the labels of any image; patients whose images differ: 1"
    assert describe_mixed_patients(labels[2:], patients[2:], None, ("mass", "nodule")) == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images 000.png to 029.png of two classes, so that each name occurs in both."""
    return write_classes(tmp_path_factory.mktemp("data"), {"a": 30, "b": 30})


@pytest.mark.parametrize(
    ("grouping", "patients"),
    [
        (Grouping(pattern=r"^\d\d"), 3),
        (Grouping(usual_pattern=r"^\d\d"), 3),
        (Grouping(pattern=r"^\d\d", usual_pattern="nowhere"), 3),
        (Grouping(), None),
        (Grouping(threshold=0.9, usual_pattern=r"^\d\d"), None),
    ],
)
def test_patients_are_groups_that_the_user_names(folder, tmp_path, grouping, patients):
    data = prepare(str(folder), sizes=[16], seed=0, grouping=grouping, store=tmp_path, split="random", healthy="a")
    assert (None if data.patients is None else len(np.unique(data.patients))) == patients
    noted = "patients with images of a and b count as b: 3" in data.notes
    assert noted == (patients is not None)
