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
