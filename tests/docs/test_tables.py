"""Tables are tables: a row that is broken over two lines ends one."""

import pytest

from tests.docs.pages import FILES, prose


@pytest.mark.parametrize("file", FILES)
def test_a_row_is_one_line(file):
    rows = [line for line in prose(file).splitlines() if line.startswith("|")]
    assert [row for row in rows if not row.endswith("|")] == []
