import pytest

from trainables.core.data.readers.tables.identifying_columns import identifying_reason

ROWS = range(100)


@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("site", ["Shenzhen", "Montgomery"] * 50, ""),
        ("sex", ["F", "M", ""], ""),
        ("age", [str(20 + row % 60) for row in ROWS], ""),
        ("dose", [f"{row / 7:.4f}" for row in ROWS], ""),
        ("finding", ["normal", "tuberculosis"], ""),
        ("patient_id", ["1"], "by its name"),
        ("PatientName", ["x"], "by its name"),
        ("MRN", ["x"], "by its name"),
        ("accession number", ["x"], "by its name"),
        ("dateOfBirth", ["x"], "by its name"),
        ("acquired", ["", "2021-03-04"], "dates"),
        ("acquired", ["20210304"], "dates"),
        ("acquired", ["4.3.2021 10:15"], "dates"),
        ("score", ["12345678"], ""),
        ("code", [str(50_000 + row) for row in ROWS], "a different number in each row"),
        ("code", [f"A{row}" for row in ROWS], "a different text in most rows"),
        ("scanner", [f"A{row % 40}" for row in ROWS], ""),
    ],
)
def test_columns_that_may_identify_a_person_are_recognised(column, values, reason):
    assert identifying_reason(column, values) == reason
