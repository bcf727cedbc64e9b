"""Tables of labels for the images of the fixture ``folder``."""

from trainables.core.data.readers.tables.label_columns import LabelTable

LABELS = LabelTable(("labels.csv",))


def write(folder, lines, name="labels.csv"):
    (folder / name).write_text("\n".join(lines) + "\n")


def rows(*changes, count=12):
    """Return the rows ``image,label,patient`` of two classes and two images per patient, with changed lines."""
    changed = dict(changes)
    lines = [f"{index:03},{'ill' if index % 4 < 2 else 'well'},p{index // 2}" for index in range(count)]
    return ["image_id,diagnosis,PatientID", *(changed.get(index, line) for index, line in enumerate(lines))]
