"""Programs that make odd data sets: each data set is read as meant, or refused with the right words.

They lie in $TUNE_RUN_CASES, or in ``shared/cases`` beside the checkout. The other tests here make similar data sets.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainables.core.data.prepare import prepare
from trainables.core.errors import DataError

PROGRAMS = Path(os.environ.get("TUNE_RUN_CASES") or Path(__file__).parents[3] / "shared" / "cases")
# The number of images that are read with two or more classes, or a part of the reason.
EXPECTED: dict[str, dict[str, int | str]] = {
    "data_ct": {"p01c_ct": 60, "p01c_ct_shifted": 60},
    "data_folders": {
        "c01_busi": "has both 'benign (1)' and its mask 'benign (1)_mask'",
        "c02_covid": "has a subfolder masks",
        "c03_testing": 42,
        "c04_case": "has 'NORMAL' and 'Normal': rename one of them",
        "c05_nfd": "the encoding of accents",
        "c06_suffix": 48,
        "c06b_jfif": 24,
        "c10_void": "255, which usually marks pixels without a label",
        "c11_suffix": "rename it to 00.png, like its image",
        "c12_la": 24,
        "c12_rgba": 24,
        "c13_split": "looks like images with masks",
        "c13b_labels": "looks like images with masks",
        "c13c_capital": "looks like images with masks",
        "c16_many": 360,
        "c17_nas": 30,
        "c17b_mac": 30,
        "c18_wrapped": "c18_wrapped/chest_xray as the data set",
    },
    "data_more": {
        "d 01 #1 100% [é]": 40,
        "p01b_ct": "too few groups of images",
        "p02b_white_is_zero_8": 40,
        "p04b_stack": "it has 10 pages or frames",
    },
    "data_parquet": {
        "q01_string": 40,
        "q02_dictionary": 40,
        "q03_img": "must have a column image, but has only img, label",
        "q04_binary": 40,
        "q05_large_binary": 40,
        "q06_path_only": "has only paths, such as 0.png",
        "q07_empty_shard": 40,
        "q07b_null_shard": 40,
        "q08_underscore": 40,
        "q08b_eval": 40,
        "q09_beside": "clinical.parquet must have a column image, but has only file, age",
        "q10_forks": 40,
        "q10b_hidden": 40,
        "q11_float": "labels must be text or integers, but are double",
        "q11b_bool": "labels must be text or integers, but are bool",
        "q12_from_one": "labels must number the classes from 0, but the smallest is 1",
        "q13_configs": "look like several configurations of one data set",
    },
    "data_pixels": {
        "p01_hu": 48,
        "p02_white_is_zero": 48,
        "p03_rgb16": 48,
        "p04_gif": "it has 9 pages or frames",
        "p04_stack": "it has 9 pages or frames",
        "p05_cmyk": 48,
        "p06_alpha": 48,
        "p07_uint32": 48,
        "p08_thin": "24 are not (air/1.png: is blank",
        "p09_mixed_depth": 48,
    },
}


@pytest.mark.skipif(not PROGRAMS.is_dir(), reason=f"no programs at {PROGRAMS} (set TUNE_RUN_CASES)")
@pytest.mark.parametrize("program", EXPECTED)
def test_every_data_set_is_read_as_meant_or_refused(tmp_path, program):
    """Takes several seconds to write and read up to 18 data sets."""
    subprocess.run([sys.executable, PROGRAMS / f"{program}.py", tmp_path / "out"], check=True)
    found: dict[str, int | str] = {}
    for place in sorted((tmp_path / "out").iterdir()):
        try:
            data = prepare(str(place), sizes=[16], seed=0, store=tmp_path / "store")
            found[place.name] = len(data.labels)
        except DataError as error:
            expected = str(EXPECTED[program].get(place.name))
            found[place.name] = expected if expected in str(error) else str(error)
    assert found == EXPECTED[program]
