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
        ("PATIENTNAME", ["x"], "by its name"),
        ("fullname", ["x"], "by its name"),
        ("patientbirthdate", ["x"], "by its name"),
        ("birthyear", ["1960"], "by its name"),
        ("hospital_number", ["7"], "by its name"),
        ("HospitalNo", ["7"], "by its name"),
        ("patid", ["7"], "by its name"),
        ("patient_code", ["7"], "by its name"),
        ("patient_sex", ["F"], ""),
        ("patient_age", ["40"], ""),
        ("number of lesions", ["3"], ""),
        ("No Finding", ["1"], ""),
        ("pleural fluid", ["1"], ""),
        ("class_name", ["normal", "tb"], ""),
        ("reader_name", ["x"], "by its name"),
        ("who", ["Smith^Anna"], "names of persons"),
        ("unit", ["cells/mm^3"], ""),
        *(
            ("since", ["", date], "dates")
            for date in ("1960-3-12", "1960/3/2", "1960-03", "12-Mar-1960", "12MAR1960", "12 March 1960")
        ),
        *(("since", ["", date], "dates") for date in ("Mar 12, 1960", "20210304101500", "20210304")),
        ("dose", ["1960.03", "2000"], ""),
        ("size", ["1024-512", "5 marks 12", "2021x304"], ""),
    ],
)
def test_columns_that_may_identify_a_person_are_recognised(column, values, reason):
    assert identifying_reason(column, values) == reason


@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("who", [f"Anna {row // 4}" for row in range(200)], "a different text for most patients"),
        ("code", [str(7000 + row // 4) for row in range(200)], "a different number for each patient"),
        ("age", [str(20 + row // 4 % 45) for row in range(200)], ""),
        ("scanner", [f"A{row % 3}" for row in range(200)], ""),
    ],
)
def test_what_differs_between_patients_but_not_between_their_images_is_recognised(column, values, reason):
    assert identifying_reason(column, values, [row // 4 for row in range(200)]) == reason
    assert identifying_reason(column, values) == ""
