import io

import pytest
from rich.console import Console

from analysis.report.page import Table
from tuning.evaluate.console_tables import _as_rich

ROW = ["sensitivity at the operating point", *["0.950 [0.896, 0.977]"] * 2, "+0.003 [-0.067, +0.186]"]


@pytest.mark.parametrize(("width", "lines"), [(80, 2), (120, 1)])
def test_no_interval_is_divided(width, lines):
    console = Console(file=io.StringIO(), width=width, height=50)
    table = Table("Scores by image", "", ("figure", "external [95%]", "internal [95%]", "difference [95%]"), [ROW])
    console.print(_as_rich(table, width))
    printed = [line for line in console.file.getvalue().splitlines() if "0." in line]
    assert len([line for line in printed if "[" in line]) == 1 and len(printed) == lines
    assert all(line.count("[") == line.count("]") for line in printed)
