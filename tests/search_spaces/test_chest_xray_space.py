import re

import numpy as np
import pytest

from search_spaces.chest_xray_space import SPACE
from tests.images import png
from trainables.core.data.prepare import prepare
from trainables.core.data.splits.groups import Grouping

GROUPING = Grouping(usual_pattern=SPACE.group_pattern)


@pytest.mark.parametrize(
    ("file", "group"),
    [
        ("person23_bacteria_85.jpeg", "person23_bacteria"),
        ("person23_virus_52.jpeg", "person23_virus"),
        ("IM-0115-0001.jpeg", "IM-0115"),
        ("NORMAL2-IM-0115-0001.jpg", "NORMAL2-IM-0115"),
        ("scan.jpeg", None),
        ("person23_bacteria_85.png", None),
    ],
)
def test_the_group_is_the_name_without_its_last_number(file, group):
    found = re.search(SPACE.group_pattern, file)
    assert (found and found[1]) == group


def kaggle_tree(root, val):
    """Write two images per person in Kaggle's layout, with ``val`` images per class in a validation split."""
    generator = np.random.default_rng(0)
    for split, persons in (("train", 40), ("val", val // 2), ("test", 10)):
        for label, name in enumerate(("NORMAL", "PNEUMONIA") if persons else ()):
            folder = root / split / name
            folder.mkdir(parents=True)
            for image in range(2 * persons):
                person = f"person{image // 2}{split}_virus_" if label else f"NORMAL2-IM-{image // 2}{split}-"
                pixels = generator.integers(0, 60, (16, 16)) + 90 * label
                (folder / f"{person}{image}.jpeg").write_bytes(png(pixels.astype(np.uint8)))


@pytest.mark.parametrize("val", [0, 8])
def test_kaggles_folders_are_split_by_person_and_keep_their_test_split(tmp_path, val):
    kaggle_tree(tmp_path / "data", val)
    data = prepare(str(tmp_path / "data"), sizes=[16], seed=0, grouping=GROUPING, store=tmp_path / "store")
    assert data.audit.named == "subjects" and len(np.unique(data.groups)) == 100 + val
    assert len(data.splits["test"]) == 40 and data.test_twins == 0
    assert all(len(data.splits[name]) > 16 for name in ("tune", "select"))  # the 8 per class of val would be too few
    said = "the published val split was merged with train and divided into fit, tune and select" in data.notes
    assert said == (val > 0)
