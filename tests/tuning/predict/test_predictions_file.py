import csv
import dataclasses
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trainables.core.errors import UserError
from trainables.core.serving.score_images import ScoredImage
from tuning.predict import predictions_file
from tuning.predict.predictions_file import PredictionsFile, as_text


def write(file, rows, names=("few", "many")):
    with PredictionsFile(file) as out:
        out.begin(names)
        for row in rows:
            out.write(row)
    with file.open(newline="", encoding="utf-8") as opened:
        return list(csv.reader(opened))


def row(name, *probabilities, error="", answer=""):
    return ScoredImage(name, np.array(probabilities, np.float32) if probabilities else None, error, answer=answer)


def test_one_row_per_image_with_exact_probabilities(tmp_path):
    exact = np.array([1 / 3, 2 / 3], np.float32)
    table = write(
        tmp_path / "out.csv", [row("a,\n.png", *exact, answer="many"), row("b.png", error="not a readable image")]
    )
    assert table[0] == ["file", "class", "few", "many", "error", "unlike_training", "unlike_score"]
    assert table[1][:2] == ["a,\n.png", "many"]
    np.testing.assert_array_equal(np.array(table[1][2:4], np.float32), exact)
    assert table[2] == ["b.png", "", "", "", "not a readable image", "", ""]


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0.png", "+1.png", "-1.png", "@SUM(A1).png", "\t=1.png"])
def test_no_cell_is_a_formula(tmp_path, name):
    table = write(tmp_path / "out.csv", [row(name, 0, 1, answer=name), row(name, error=name)], names=("few", name))
    assert table[0][3] == table[1][0] == table[1][1] == table[2][4] == f"'{name}"
    assert as_text("a=b-c") == "a=b-c"


def test_a_model_of_labels_has_a_column_of_labels(tmp_path):
    file = tmp_path / "out.csv"
    with PredictionsFile(file) as out:
        out.begin(("mass", "labels"), answer="labels")
        out.write(row("a.png", 0.5, 0.75, answer="mass|labels"))
    lines = file.read_text().splitlines()
    headings = "file,labels,mass,p(labels),error,unlike_training,unlike_score"
    assert lines == [headings, "a.png,mass|labels,0.5,0.75,,,"]


def test_the_distance_from_the_training_images_is_a_number_or_missing(tmp_path):
    far = replace(row("a.png", 0, 1), unlike="features 1.2 times the limit", unlike_score=1.23456)
    table = write(tmp_path / "out.csv", [far, row("b.png", 0, 1)])
    assert [cells[-2:] for cells in table[1:]] == [["features 1.2 times the limit", "1.235"], ["", ""]]


def test_a_model_with_an_operating_point_has_a_column_of_decisions(tmp_path):
    file, found = tmp_path / "out.csv", {"answer": "many", "is_positive": True}
    with PredictionsFile(file) as out:
        out.begin(("is_positive", "many"), decisions=("is_positive",), patients=True)
        out.write(dataclasses.replace(row("P1", 0.25, 0.75), **found), "2", "a.png")
        out.write(dataclasses.replace(row("P2", 0.75, 0.25), is_positive=False), "1", "b.png")
        out.write(row("P3", error="not a readable image"), "1", "c.png")
    heading, *lines = file.read_text().splitlines()
    assert heading.startswith("patient,class,p(is_positive),many,error,")
    assert heading.endswith(",unlike_score,is_positive,images,first_image")
    assert lines == [
        "P1,many,0.25,0.75,,,,true,2,a.png",
        "P2,,0.75,0.25,,,,false,1,b.png",
        "P3,,,,not a readable image,,,,1,c.png",
    ]


def test_prediction_sets_keep_the_case_of_their_classes_and_are_no_formulas(tmp_path):
    file = tmp_path / "out.csv"
    with PredictionsFile(file) as out:
        out.begin(("A", "=b"), decisions=("prediction_set", "abstain"))
        out.write(dataclasses.replace(row("1.png", 0.5, 0.5), prediction_set="A|=b", abstain=True))
        out.write(dataclasses.replace(row("2.png", 0.9, 0.1), prediction_set="=b", abstain=False))
    assert [line.split(",")[-2:] for line in file.read_text().splitlines()] == [
        ["prediction_set", "abstain"],
        ["A|=b", "true"],
        ["'=b", "false"],
    ]


def test_a_class_named_like_a_column_gets_its_own_heading(tmp_path):
    assert write(tmp_path / "out.csv", [], names=("error", "file"))[0] == [
        "file",
        "class",
        "p(error)",
        "p(file)",
        "error",
        "unlike_training",
        "unlike_score",
    ]


def test_names_that_are_not_utf8_are_escaped(tmp_path):
    assert write(tmp_path / "out.csv", [row("caf\udce9.png", 1, 0)])[1][0] == "caf\\udce9.png"


def test_an_interrupted_run_leaves_the_earlier_file(tmp_path):
    (tmp_path / "out.csv").write_text("before")
    with pytest.raises(KeyboardInterrupt), PredictionsFile(tmp_path / "out.csv") as out:
        out.begin(("few",))
        raise KeyboardInterrupt
    assert [file.name for file in tmp_path.iterdir()] == ["out.csv"]
    assert (tmp_path / "out.csv").read_text() == "before"


@pytest.mark.parametrize("place", ["nowhere/out.csv", "."])
def test_an_unwritable_place_is_refused(tmp_path, place):
    with pytest.raises(UserError, match="--out must be writable, but .* is not: "):
        write(tmp_path / place, [])
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_a_user_error_and_leaves_the_earlier_file(tmp_path, monkeypatch):
    (tmp_path / "out.csv").write_text("before")
    monkeypatch.setattr(predictions_file, "atomic_file", lambda file: nullcontext(Path("/dev/full")))
    with pytest.raises(UserError, match="No space left"), PredictionsFile(tmp_path / "out.csv") as out:
        out.begin(("few",))
        for _ in range(10_000):
            out.write(row("a.png", 1.0))
    assert (tmp_path / "out.csv").read_text() == "before"
