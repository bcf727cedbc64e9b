import pytest

from analysis.report.reporting.claim_items import ITEMS, STUDY_KEYS
from analysis.report.reporting.study_file import read_study_file
from trainables.core.errors import UserError


def test_claim_has_44_items_and_every_key_is_used_once():
    assert [item.number for item in ITEMS] == list(range(1, 45))
    assert len(set(STUDY_KEYS)) == len(STUDY_KEYS)
    by_number = {item.number: item.key for item in ITEMS}
    # Numbers as published (Tejani et al. 2024).
    assert by_number[3] == "purpose" and by_number[14] == "reference_standard" and by_number[21] == "sample_size"
    assert by_number[33] == "external_testing" and by_number[44] == "funding"


def test_texts_are_read_and_empty_ones_left_out(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("purpose: Triage.\nethics: |\n  Approved\n  by a board.\naims:\nfunding: ''\n")
    assert read_study_file(file) == {"purpose": "Triage.", "ethics": "Approved\nby a board."}
    file.write_text("# nothing yet\n")
    assert read_study_file(file) == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("purpos: x", r"unknown key 'purpos' in the study file .*: did you mean 'purpose'\?"),
        ("zzz: x", "unknown key 'zzz' .*: known keys: ethics, summary"),
        ("sample_size: 12", "sample_size .* must be text, but got 12: put it in quotes"),
        ("- purpose", "must hold lines like `purpose: text`, but .* holds a list"),
        ("purpose: [", "must be YAML"),
    ],
)
def test_mistakes_are_refused_in_one_line(tmp_path, content, message):
    file = tmp_path / "study.yaml"
    file.write_text(content)
    with pytest.raises(UserError, match=message) as raised:
        read_study_file(file)
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"--study must be a readable text file, but .*none.yaml"):
        read_study_file(tmp_path / "none.yaml")
