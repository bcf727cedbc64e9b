import pytest

from tests.images import write_classes
from trainables.core.data.readers.unlabelled import find_parts
from tuning.predict.table_rows import TableSource, read_rows


def test_missing_values_of_a_patients_images_are_left_out(tmp_path):
    folder = write_classes(tmp_path / "images", {"a": 4}, size=8)
    file = tmp_path / "table.csv"
    file.write_text("image,labels,grade\na/000,,1\na/001,left|right,\na/002,left,2\na/003,,\n")
    parts = find_parts([str(folder)])
    rows = read_rows(TableSource(str(file), columns=("labels", "grade")), file, parts)
    values = rows.values_of_patients(rows.entries(parts), ["p", "p", "p", "q"])
    assert values == {"p": ("left|right", "1|2"), "q": ("", "")}


@pytest.mark.parametrize(
    ("rows", "patients"),
    [
        (["patientId", "000", "001", "002"], None),
        (["patientId,person", "000,p", "001,p", "002,q"], ("p", "p", "q")),
        (["scan,person,mrn", "000,p,7", "001,p,7", "002,q,8"], ("p", "p", "q")),
        (["scan,person,mrn", "000,x,7", "001,x,7", "002,x,8"], ("7", "7", "8")),
        (["scan,person,mrn", "000,p,7", "001,p,8", "002,q,8"], None),
        (["scan,person", "000,p", "001,p", "002,p"], ("p", "p", "p")),
    ],
    ids=["names of images", "beside names of images", "alike", "one of a single patient", "different", "one patient"],
)
def test_the_patients_of_rows_are_those_that_training_groups_by(tmp_path, rows, patients):
    folder, file = write_classes(tmp_path / "images", {"a": 3}, size=8), tmp_path / "table.csv"
    file.write_text("\n".join(rows))
    table = TableSource(str(file), image=rows[0].split(",")[0])
    assert read_rows(table, file, find_parts([str(folder)])).patients == patients
