import itertools

import pytest

from tests.trainables.core.data.readers.tables.label_rows import LABELS, rows, write
from trainables.core.data.audited_dataset import inspect
from trainables.core.data.prepare import prepare
from trainables.core.data.readers.tables.label_table import open_table
from trainables.core.errors import DataError


def test_bad_rows_are_unusable_images_with_the_reason(folder):
    bad = [(0, "000,,p0"), (1, "001,ill,p0\n001,well,p0"), (2, "002,well,p1\n002,well,p9"), (3, "no such,well,p1")]
    write(folder, [*rows(*bad), "005,ill,p2"])
    source = open_table(folder, LABELS)
    assert {source.names[index]: reason for index, reason in source.unreadable.items()} == {
        "001.png": "has 2 rows with different labels: ill, well",
        "002.png": "has 2 rows with different groups: p1, p9",
        "no such": "no image has this name",
    }
    assert source.labels[source.names.index("000.png")] == -1
    assert "3 rows of labels.csv repeat an image (001.png, 002.png, 005.png)" in source.notes
    assert "images without a row in labels.csv, which are not used: 1 (003.png)" in source.notes
    assert source.unlisted == 1
    with pytest.raises(
        DataError, match=r"4 are not \(000.png: has no label; 001.png: has 2 rows with different labels"
    ):
        prepare(str(folder), table=LABELS, sizes=[16], seed=0)


def test_a_corrected_row_is_not_refused_for_its_earlier_fault(folder, tmp_path):
    """Both faults make the same image unusable, so that its pixels and the audit may be in the cache."""
    for row, reason in (("001,ill,p0", "labels: ill, well"), ("001,well,p9", "groups: p0, p9")):
        write(folder, rows((1, f"001,well,p0\n{row}")))
        audit = inspect(str(folder), table=LABELS, store=tmp_path / "store").audit
        assert audit.broken == {"001.png": f"has 2 rows with different {reason}"}


def test_repeated_rows_that_differ_in_other_columns_are_named(folder):
    """Subgroups would depend on which of the rows counts."""
    table = [f"{row},{site},70" for row, site in zip(rows()[1:], itertools.cycle("AB"), strict=False)]
    write(folder, [f"{rows()[0]},site,age", *table, table[0].replace(",A,", ",B,"), table[1]])
    source = open_table(folder, LABELS)
    (note,) = [note for note in source.notes if "repeat an image" in note]
    assert note == (
        "2 rows of labels.csv repeat an image (000.png, 001.png); rows of 1 image differ in other columns, and "
        "the first row counts (000.png: site)"
    )
    assert source.metadata["site"][source.names.index("000.png")] == "A"


def test_a_row_for_each_finding_is_refused_with_the_remedy(folder):
    """VinDr-CXR lists the findings of each reader. One label of several would be wrong, and so is leaving them out."""
    pairs = itertools.product(range(10), ("Mass", "Cardiomegaly"), "ab")
    findings = [f"{index:03},{name},{reader}" for index, name, reader in pairs]
    write(folder, ["image_id,class_name,rad_id", *findings, "010,No finding,a", "011,No finding,b"])
    with pytest.raises(
        DataError,
        match=r"10 of 12 images in labels.csv have rows with different labels in class_name, .* such as "
        r"Cardiomegaly\|Mass for 000.png",
    ):
        open_table(folder, LABELS)


def test_ids_that_lost_their_zeros_are_found_with_a_note(folder):
    write(folder, ["image,label", *(f"{index},{'ab'[index % 2]}" for index in range(12))])
    source = open_table(folder, LABELS)
    assert source.labels.tolist() == [0, 1] * 6 and not source.unreadable
    assert source.notes[-1].startswith("12 names match only without leading zeros or upper case (0 is 000.png, ")


def test_each_row_without_an_image_name_is_counted(folder):
    write(folder, rows((1, ",ill,p0"), (2, ",well,p1"), (3, ",well,p1")))
    source = open_table(folder, LABELS)
    assert len(source) == 9 + 3 and set(source.unreadable.values()) == {"a row has no image name"}
    assert not any("repeat" in note for note in source.notes)


def test_the_reason_is_given_if_no_row_can_be_used(folder):
    (folder / "thumbs").mkdir()
    for file in list(folder.glob("*.png")):
        (folder / "thumbs" / file.name).write_bytes(file.read_bytes())
    write(folder, rows())
    with pytest.raises(
        DataError, match=r"no row of labels.csv can be used, such as 000: it could be 000.png or thumbs/000.png"
    ):
        open_table(folder, LABELS)


def test_classes_are_counted_over_all_rows_also_those_without_an_image(folder):
    for index in range(3, 12):
        (folder / f"{index:03}.png").unlink()
    write(folder, rows())
    assert len(open_table(folder, LABELS).unreadable) == 9
