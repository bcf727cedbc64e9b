from datetime import date

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainables.core.data.readers.tables.table_files import read_table
from trainables.core.errors import DataError

EXPECTED = {"image": ["007", "8"], "finding": ["tumour, left", ""], "age": ["61", "70.5"]}


def write(file, text, encoding="utf-8"):
    file.write_bytes(text.encode(encoding))
    return file


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_tables_of_any_separator_line_end_and_byte_order_mark(tmp_path, separator, line_end, encoding):
    rows = [["image", "finding", "age"], ["007", '"tumour, left"', "61.0"], [" 8 ", "NA", "70.5"], ["", "", ""]]
    text = line_end.join(separator.join(row) for row in rows)
    assert read_table(write(tmp_path / "t.csv", text, encoding)) == EXPECTED


@pytest.mark.parametrize(
    "text",
    [
        'sep=;\r\nimage;"finding, final"\r\n007;ill\r\n8;?\r\n',
        '"finding, final";image\nill;007\n"?";8\n',
    ],
)
def test_separators_that_excel_states_and_those_within_quotes(tmp_path, text):
    assert read_table(write(tmp_path / "t.csv", text)) == {"image": ["007", "8"], "finding, final": ["ill", ""]}


@pytest.mark.parametrize(
    ("name", "text", "columns"),
    [
        ("t.csv", '"Bild\nDatei";"Befund";Alter\n1.png;krank;61,5\n', ["Bild\nDatei", "Befund", "Alter"]),
        ("t.csv", '"size ""5""\nmm";image\n7;1.png\n', ['size "5"\nmm', "image"]),
        ("t.csv", 'image;size ("), mm\n1.png;7"\n', ["image", 'size ("), mm']),
        ("t.csv", "image;finding, final\n1.png;ill\n", ["image", "finding, final"]),
        ("t.csv", "image;first, second, third\n1.png;ill\n", ["image", "first, second, third"]),
        ("t.csv", "image,sign|symptom\n1.png,cough\n2.png,a|b\n", ["image", "sign|symptom"]),
        ("t.tsv", "image\tfinding, final\n1.png\till, perhaps\n", ["image", "finding, final"]),
    ],
)
def test_the_separator_is_known_by_the_header_and_the_next_row(tmp_path, name, text, columns):
    assert list(read_table(write(tmp_path / name, text))) == columns


@pytest.mark.parametrize("start", ["\n", "\r\n", "  \n\n", '""\n'])
def test_blank_lines_before_the_header_do_not_hide_the_separator(tmp_path, start):
    text = f"{start}image;finding\n007;ill\n"
    assert read_table(write(tmp_path / "t.csv", text)) == {"image": ["007"], "finding": ["ill"]}


def test_excel_and_parquet_have_the_values_of_text(tmp_path):
    book = openpyxl.Workbook()
    for row in [["image", "finding", "age"], ["007", "tumour, left", 61.0], [8, None, 70.5], [None, " ", None]]:
        book.active.append(row)
    book.create_sheet("empty")
    book.save(tmp_path / "t.xlsx")
    columns = {"image": ["007", "8"], "finding": ["tumour, left", None], "age": [61.0, 70.5]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.xlsx") == read_table(tmp_path / "t.parquet") == EXPECTED


def test_dates_of_parquet_are_text(tmp_path):
    pq.write_table(pa.table({"day": [date(2024, 5, 1)], "label": [True]}), tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet") == {"day": ["2024-05-01"], "label": ["True"]}


def hide_a_row(sheet):
    sheet.row_dimensions[3].hidden = True


def merge_patients(sheet):
    sheet.merge_cells("B2:B3")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (hide_a_row, "no row of .* may be hidden, but 1 are, such as row 3, perhaps by a filter: delete or show them"),
        (
            merge_patients,
            "no cells of .* may be merged, but B2:B3 are: unmerge them and write the value into each cell",
        ),
    ],
)
def test_hidden_rows_and_merged_cells_are_refused(tmp_path, change, message):
    book = openpyxl.Workbook()
    for row in [["image", "patient"], ["1.png", "p1"], ["2.png", "p2"], ["3.png", "p2"]]:
        book.active.append(row)
    change(book.active)
    book.save(tmp_path / "t.xlsx")
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / "t.xlsx")


@pytest.mark.parametrize("value", ["NULL", "null", "n/a", "NaT", "#REF!", "#DIV/0!", "\u200b", "\u00a0", " \ufeff"])
def test_what_stands_for_a_missing_value_is_none(tmp_path, value):
    assert read_table(write(tmp_path / "t.csv", f"image,label\n1,{value}\n2,None\n"))["label"] == ["", "None"]


def test_characters_that_nobody_sees_do_not_count(tmp_path):
    text = "\u200bimage,patient\u00a0\n1,p1\u200b\n2,\ufeffp1\n"
    assert read_table(write(tmp_path / "t.csv", text)) == {"image": ["1", "2"], "patient": ["p1", "p1"]}


def test_binary_text_of_parquet_is_text(tmp_path):
    pq.write_table(pa.table({"label": [b"ill", b"l\xc3\xa4sion"]}), tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet") == {"label": ["ill", "läsion"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have a header and a row per image"),
        ("image,label\n", "must have a header and a row per image"),
        ("image,label,label\na,b,c\n", "must have different names, but .* has 2 'label'"),
        ("image,label\na,b\nc,d,e\n", "must have 2 columns like the header, but line 3 of .* has 3"),
        ('image,label\na,"b"c\n', "line 2 of .* is not valid CSV"),
    ],
)
def test_a_broken_table_is_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_table(write(tmp_path / "t.csv", text))


def test_other_encodings_formats_and_damaged_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="must be UTF-8 text"):
        read_table(write(tmp_path / "t.csv", "image,label\na,Häufig\n", "cp1252"))
    with pytest.raises(DataError, match=r"must be one of \.csv, .*, but got .*t\.json"):
        read_table(write(tmp_path / "t.json", "{}"))
    with pytest.raises(DataError, match="not a readable Excel file"):
        read_table(write(tmp_path / "t.xlsx", "image"))
    with pytest.raises(DataError, match="not a readable parquet file"):
        read_table(write(tmp_path / "t.parquet", "image"))
