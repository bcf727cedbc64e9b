import csv
import io

import numpy as np
import pytest

from tests.images import write_classes
from tests.trainables.core.data.splits.test_audit import write_phantoms
from trainables.core.data.audited_dataset import inspect
from trainables.core.data.prepare import prepare
from trainables.core.data.readers.open_source import open_source
from trainables.core.data.readers.pseudonyms import KEY_VARIABLE, pseudonym
from trainables.core.data.splits.group_file import group_table, grouped_by_file
from trainables.core.data.splits.groups import Grouping
from trainables.core.errors import DataError

NAMES = [f"a/a{index}.png" for index in range(3)] + [f"b/b{index}.png" for index in range(3)]


@pytest.fixture
def data(tmp_path):
    root = write_classes(tmp_path / "data", {"a": 3, "b": 3})
    files = sorted(root.rglob("*.png"))
    for file, name in zip(files, NAMES, strict=True):
        file.rename(root / name)
    return root


def grouped(root, tmp_path, text):
    file = tmp_path / "groups.csv"
    file.write_text(text)
    return inspect(str(root), grouping=Grouping(file=str(file)), store=tmp_path / "store")


def table(rows):
    return "image,group\n" + "".join(f"{name},{group}\n" for name, group in rows)


def test_groups_are_written_as_csv_and_numbered_from_one():
    text = group_table(["a.png", "b, c.png", 'd".png'], np.array([7, 3, 7]))
    assert list(csv.reader(io.StringIO(text))) == [
        ["image", "group"],
        ["a.png", "1"],
        ["b, c.png", "2"],
        ['d".png', "1"],
    ]


def test_groups_of_patients_are_called_by_their_pseudonyms(monkeypatch, tmp_path):
    (tmp_path / "key").write_text("k" * 64)
    (tmp_path / "key").chmod(0o600)
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "key"))
    text = group_table(list("abcde"), np.array([5, 0, 5, 1, 1]), ["Doe", "", "Doe", "Roe", "Doe"])
    doe, both = pseudonym("Doe"), "+".join(sorted(map(pseudonym, ("Roe", "Doe"))))
    assert [row[1] for row in csv.reader(io.StringIO(text))] == ["group", doe, "2", doe, both, both]


def test_one_group_for_all_images_is_refused(data, tmp_path):
    with pytest.raises(DataError, match=r"at least two groups, .* but --groups .*groups.csv puts all 6 in one"):
        grouped(data, tmp_path, table((name, 0) for name in NAMES))


def test_a_file_that_names_no_group_is_refused(data, tmp_path):
    with pytest.raises(DataError, match=r"--groups .*groups.csv must name the group of some images, but names none"):
        grouped(data, tmp_path, table((name, "unknown") for name in NAMES))


def test_words_for_unknown_patients_in_a_file_are_no_group(data, tmp_path):
    found = grouped(data, tmp_path, table(zip(NAMES, ["unknown", "unknown", "NaN", "y", "y", ""], strict=True)))
    assert len(set(found.groups.tolist())) == 5
    assert "4 images have no known patient: similar images without one are grouped" in found.notes


def test_groups_of_a_file_are_the_truth(data, tmp_path):
    found = grouped(data, tmp_path, table(zip(reversed(NAMES), ["x", "y", "", "y", "z", ""], strict=True)))
    names = found.open_source().names
    group_of = dict(zip(names, found.groups.tolist(), strict=True))
    assert group_of["b/b1.png"] == group_of["a/a2.png"]
    assert len(set(group_of.values())) == 5  # images without a group are their own
    assert (found.audit.named, found.audit.groups, found.audit.threshold) == ("subjects", 5, None)


def test_further_columns_are_metadata(data, tmp_path):
    file = tmp_path / "groups.csv"
    rows = [f"{name},{index // 2},{'AB'[index % 2]}" for index, name in enumerate(NAMES)]
    file.write_text("\n".join(["image,group,site", *reversed(rows)]) + "\n")
    source = grouped_by_file(open_source(str(data)), file)
    assert dict(zip(source.names, source.metadata["site"], strict=True)) == dict(zip(NAMES, "ABABAB", strict=True))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(name, 1) for name in NAMES[2:]], r"2 images of the data are missing \('a/a0.png', ...\)"),
        ([(name, 1) for name in [*NAMES, "c.png"]], r"1 names are no image of the data \('c.png'\)"),
        ([(name, 1) for name in [*NAMES[1:], "a0.png"]], "1 images of the data are missing .*; 1 names are no image"),
        ([*((name, 1) for name in NAMES), (NAMES[0], 2)], r"1 images are in two groups \('a/a0.png'\)"),
    ],
)
def test_files_that_do_not_match_the_images_are_refused(data, tmp_path, rows, message):
    with pytest.raises(DataError, match="--groups must name each image once") as error:
        grouped(data, tmp_path, table(rows))
    assert error.match(message)
    assert "\n" not in str(error.value)


def test_other_columns_are_refused_by_name(data, tmp_path):
    with pytest.raises(DataError, match="must have the columns image and group, but .* has file, patient"):
        grouped(data, tmp_path, "file,patient\na,b\n")


@pytest.mark.slow
def test_splits_follow_the_groups_of_a_file(tmp_path):
    write_phantoms(tmp_path / "data")
    opened = inspect(str(tmp_path / "data"), store=tmp_path / "store").open_source()
    numbers = [index // 12 for index in range(len(opened))]  # others than similarity finds
    (tmp_path / "groups.csv").write_text(table(zip(opened.names, numbers, strict=True)))
    grouping = Grouping(file=str(tmp_path / "groups.csv"), usual_pattern=r"(subject\d+)_")
    data = prepare(str(tmp_path / "data"), sizes=[16], seed=0, grouping=grouping, store=tmp_path / "store")
    assert data.audit.groups == 30
    parts = [set(np.array(numbers)[rows].tolist()) for rows in data.splits.values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 30
