import shlex
from pathlib import Path

import pytest

from trainables.core.data.readers.tables.label_columns import LabelTable, choose_columns, describe_columns
from trainables.core.data.readers.tables.named_images import NamedImages
from trainables.core.errors import DataError


def chosen(**values):
    """Choose the columns of six images, of which the last two have the second of two values in each other column."""
    rows = [
        {"image": f"{index}.png", "label": "ab"[index % 2]} | {name: pair[index >= 4] for name, pair in values.items()}
        for index in range(6)
    ]
    images = NamedImages(Path("data"), [Path(row["image"]) for row in rows])
    return choose_columns(LabelTable(("t.csv",)), list(rows[0]), rows, images, "t.csv")


@pytest.mark.parametrize("column", ["set", "Usage", "data_split", "folder"])
@pytest.mark.parametrize("words", [("train", "test"), ("Training", "dev")])
def test_a_column_of_nothing_but_splits_is_the_split_whatever_its_name(column, words):
    assert chosen(**{column: words})["split"] == column


def test_a_column_named_split_has_precedence_over_others():
    values = {"set": ("train", "test"), "split": ("train", "val")}
    assert chosen(**values)["split"] == "split"
    with pytest.raises(DataError, match=r"several columns that could be the split \(set, usage\): pass --split-column"):
        chosen(set=("train", "test"), usage=("train", "val"))


@pytest.mark.parametrize(
    "values",
    [
        {"set": ("train", "train")},
        {"batch": ("0", "1")},
        {"fold": ("1", "2")},
        {"fold": ("fold 1", "fold 2")},
        {"cohort": ("A", "B")},
        {"phase": ("in", "out")},  # of MRI
        {"fixation": ("internal", "external")},
        {"method": ("blood test", "urine test")},
        {"quality": ("valid", "invalid")},
        {"stage": ("development", "regression")},
        {"dataset": ("Shenzhen", "Montgomery")},
    ],
)
def test_other_columns_are_no_split(values):
    assert "split" not in chosen(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"split": ("internal", "external")},
        {"split": ("tr", "te")},
        {"partition": ("training set", "test set")},
        {"set": ("train", "external")},
        {"Data_Set": ("Train", "external")},
        {"set": ("train", "A")},
        {"source": ("train", "holdout")},
        {"source": ("train", "A")},
        {"use": ("training", "hold-out")},
        {"cohort": ("development", "internal validation")},
        {"group_name": ("discovery", "replication")},
        {"Aufteilung": ("Training", "Pruefung")},
        {"cohort": ("internal", "external")},
        {"set": ("in", "out")},
        {"set": ("False", "True")},
        {"partition": ("0", "1")},
        {"split": ("1", "2")},
        {"fold": ("0", "test")},
        {"set": ("trn", "tst")},
        {"set": ("T", "V")},
        {"set": ("", "test")},
    ],
)
def test_words_about_splits_that_have_no_meaning_are_refused(values):
    """All rows would be trained on, also those of the published test split."""
    rule = (
        r"column \w+ of t.csv must hold one of train, .*, test, .*, but has .*: correct them, name another column with"
    )
    with pytest.raises(DataError, match=rule + " --split-column, or rename"):
        chosen(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"fold": ("0", "-1")},
        {"cv_fold": ("1", "-1")},
        {"kFold": ("0", "holdout")},
        {"fold": ("0", "")},
        {"split": ("-1", "4")},
    ],
)
def test_folds_that_hold_out_some_rows_are_refused(values):
    """Rows outside the numbered folds are usually a test set, which would be trained on."""
    with pytest.raises(DataError, match=r"column \w+ of t.csv looks like a published split: write train or test"):
        chosen(**values)
    assert chosen(**values, usage=("train", "test"))["split"] == "usage"


def test_a_column_that_the_user_names_settles_it():
    rows = [
        {
            "image": f"{i}.png",
            "label": "ab"[i % 2],
            "set": ("train", "external")[i > 3],
            "use": ("train", "test")[i > 4],
        }
        for i in range(6)
    ]
    images = NamedImages(Path("data"), [Path(row["image"]) for row in rows])
    table = LabelTable(("t.csv",), split="use")
    assert choose_columns(table, list(rows[0]), rows, images, "t.csv")["split"] == "use"


@pytest.mark.parametrize(
    "column",
    [
        "is_test",
        "isTrain",
        "in test set",
        "train",
        "Holdout",
        "test_set",
        "external",
        "External Validation",
        "external_test",
    ],
)
def test_a_flag_of_a_split_is_refused(column):
    with pytest.raises(DataError, match=f"column {column} of t.csv looks like a published split: write train or test"):
        chosen(**{column: ("0", "1")})
    assert chosen(**{column: ("0", "1")}, split=("train", "test"))["split"] == "split"


@pytest.mark.parametrize("column", ["exclude", "Included", "is_usable", "keep", "Rejected", "valid", "is_duplicate"])
@pytest.mark.parametrize("marks", [("0", "1"), ("no", "yes"), ("", "x")])
def test_a_choice_of_images_is_refused(column, marks):
    """Excluded images would be trained on."""
    with pytest.raises(
        DataError, match=f"column {column} of t.csv looks like a choice of images, but all rows are used"
    ):
        chosen(**{column: marks})


@pytest.mark.parametrize("column", ["grade", "KL_grade", "Stage"])
def test_a_grade_is_the_label_if_nothing_else_is(column):
    rows = [{"image": f"{index}.png", column: str(index % 3)} for index in range(6)]
    images = NamedImages(Path("data"), [Path(row["image"]) for row in rows])
    assert choose_columns(LabelTable(("t.csv",)), list(rows[0]), rows, images, "t.csv")["label"] == column
    assert chosen(**{column: ("0", "1")})["label"] == "label"


def test_a_lesion_is_the_group_if_no_patient_or_visit_is_known():
    """HAM10000 has several images of a lesion."""
    ids = {"lesion_id": ("a", "b")}
    assert chosen(**ids)["group"] == "lesion_id"
    assert chosen(**ids, study_id=("a", "b"))["group"] == "study_id"
    assert chosen(**ids, study_id=("a", "b"), patient=("a", "b"))["group"] == "patient"


@pytest.mark.parametrize("column", ["ID", "case", "PatientCohortKey", "patients", "subj nr"])
def test_a_column_that_may_name_patients_is_noted(column):
    rows = [{"image": f"{i}.png", "label": "ab"[i % 2], column: f"p{i // 3}"} for i in range(9)]
    option = f"--group-column {shlex.quote(column)}"
    note = f"column {column} may name patients: if it does, {option} keeps their images together"
    assert describe_columns({"image": "image", "label": "label"}, list(rows[0]), rows)[1:] == [note]
    assert describe_columns({"image": "image", "group": column}, list(rows[0]), rows)[1:] == []


@pytest.mark.parametrize("column", ["patient_age", "site", "Patient Sex", "image_id_2"])
def test_other_columns_name_no_patients(column):
    rows = [{"image": f"{i}.png", column: f"{i // 3}"} for i in range(9)]
    assert len(describe_columns({"image": "image"}, list(rows[0]), rows)) == 1


@pytest.mark.parametrize("column", ["patient_name", "Patient Identifier", "PID"])
def test_further_names_of_patients_give_the_groups_if_no_usual_one_does(column):
    assert chosen(**{column: ("a", "b")}, study_id=("a", "b"))["group"] == column
    assert chosen(**{column: ("a", "b")}, MRN=("a", "b"))["group"] == "MRN"
