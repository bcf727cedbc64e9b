import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.dicom import write_dicom
from tests.images import png, write_classes
from tests.nifti import noise, write_nifti
from tests.trainables.core.data.splits.test_audit import write_phantoms
from tuning.cli.audit import app


@pytest.fixture(scope="module")
def leaky(tmp_path_factory):
    root = tmp_path_factory.mktemp("leaky")
    write_phantoms(root, published=True)
    return root


@pytest.fixture(autouse=True)
def store(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("TUNE_RUN_CACHE", str(tmp_path_factory.getbasetemp() / "audit-store"))
    monkeypatch.setenv("COLUMNS", "120")


def run(*arguments, code=0):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.output
    return done.stderr if code == 2 else done.output


def test_tables_and_summary(leaky):
    output = run(leaky)
    assert "360 images" in output
    assert "audit: 60 groups (similarity >= 0.9), the largest with 6 images" in output
    assert output.count("test and train") == 10
    assert "small data set: tune and select would have about" in output
    assert "tune-run --cv-folds 5" in output
    assert "LEAK: 100.0% of the published test images share their group with training images" in output


def test_json_has_all_results(leaky, tmp_path):
    run(leaky, "--json", tmp_path / "audit.json")
    audit = json.loads((tmp_path / "audit.json").read_text())
    assert (audit["images"], audit["groups"], audit["largest_group"], audit["threshold"]) == (360, 60, 6, 0.9)
    assert audit["test_twins_in_train"] == 1
    for split in ("published", "grouped"):
        assert set(audit["nearest_neighbour"][split]) == {"accuracy", "balanced_accuracy"}
    assert {"groups_per_class", "exact_duplicates", "contradicting_groups", "broken"} <= set(audit)


def test_json_names_the_pairs(leaky, tmp_path):
    run(leaky, "--json", tmp_path / "audit.json")
    pairs = json.loads((tmp_path / "audit.json").read_text())["pairs"]
    assert len(pairs["test and train"]) > 12
    for kind in pairs.values():
        for pair in kind:
            assert (leaky / pair["first"]).is_file() and (leaky / pair["second"]).is_file()
            subjects = {Path(pair[end]).name.split("_")[0] for end in ("first", "second")}
            assert len(subjects) == 1


def test_written_groups_are_accepted_back(leaky, tmp_path):
    output = run(leaky, "--write-groups", tmp_path / "groups.csv")
    rows = list(csv.DictReader((tmp_path / "groups.csv").open(newline="")))
    assert len(rows) == 360 and len({row["group"] for row in rows}) == 60
    group_of_subject = {Path(row["image"]).name.split("_")[0]: row["group"] for row in rows}
    assert all(row["group"] == group_of_subject[Path(row["image"]).name.split("_")[0]] for row in rows)
    assert "60 groups (similarity" in output
    assert "60 subjects (as given)" in run(leaky, "--groups", tmp_path / "groups.csv")
    run(leaky, "--groups", tmp_path / "groups.csv", "--write-groups", tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_text() == (tmp_path / "groups.csv").read_text()


def test_fail_on_leak_sets_the_exit_code(leaky):
    run(leaky, "--fail-on-leak", code=1)
    run(leaky / "train", "--fail-on-leak")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "the data set must be a folder, an s3:// or gs:// address, owner/name"),
        (["{root}", "--group-pattern", "("], "--group-pattern must be a regular expression"),
        (["{root}", "--group-pattern", "patient"], "must match file names, but 'patient' matches none"),
        (["{root}", "--group-column", "patient"], "--group-column needs --labels, parquet files or a hub data set"),
        (["{root}", "--group-threshold", "2"], "must be a similarity between 0 and 1, but got 2"),
        (["{root}", "--groups", "{root}/no.csv"], "no.csv cannot be read: No such file or directory"),
        (["{root}", "--groups", "x.csv", "--group-pattern", "x"], "--group-pattern and --groups"),
        (["{root}", "--write-groups", "{root}/no/groups.csv"], "--write-groups must be a file in an existing folder"),
        (["{root}", "--json", "{root}/no/such.json"], "--json must be a file in an existing folder, but"),
        (["nowhere", "--json", "{root}"], "is a folder: add the name of a file"),
    ],
)
def test_wrong_usage_is_one_line(leaky, arguments, message):
    output = run(*(argument.format(root=leaky) for argument in arguments), code=2)
    assert message in output
    assert len(output.strip().splitlines()) == 1


def test_a_refusal_is_all_that_is_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["nowhere"])
    assert (done.exit_code, done.stdout) == (2, "")


def test_a_table_gives_labels_and_groups(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(24):
        (tmp_path / f"{index:03}.png").write_bytes(png(rng.integers(0, 255, (32, 32), dtype=np.uint8)))
    lines = [f"{index:03}.png,{'ab'[index % 2]},{index // 3},{index}" for index in range(24)]
    (tmp_path / "labels.csv").write_text("\n".join(["image,label,patient_id,visit", *lines]))
    output = run(tmp_path, "--labels", tmp_path / "labels.csv")
    assert "24 images" in output and "audit: 8 subjects (as given)" in output
    assert "Note: columns of the table: image = image, label = label, group = patient_id" in output
    assert "did you mean 'label'?" in run(tmp_path, "--labels", "labels.csv", "--label-column", "labl", code=2)
    alone = run(tmp_path, "--labels", "labels.csv", "--group-column", "visit")
    assert "audit: 24 subjects (as given), the largest with 1 image\n" in alone


def test_the_slices_of_volumes_are_chosen_and_stated(tmp_path):
    for index in range(6):
        write_nifti(tmp_path / "ab"[index % 2] / f"{index}.nii.gz", noise(index))
    output = run(tmp_path, "--axis", "sagittal", "--slices", "4")
    assert "24 images" in output and "audit: 6 subjects (as given), the largest with 4 images" in output
    assert "Note: 6 NIfTI volumes with 24 sagittal slices: at most 4 around the middle of each volume" in output


def test_a_window_replaces_those_of_dicom_files(tmp_path):
    for index in range(12):
        pixels = np.full((16, 16), 1000 + index, dtype=np.uint16)
        pixels[:8] = 0
        write_dicom(tmp_path / "ab"[index % 2] / f"{index}.dcm", pixels, WindowCenter="2048", WindowWidth="4096")
    assert "blank images: 0" in run(tmp_path)
    assert "blank images: 12 (" in run(tmp_path, "--window", "-500,100")  # all values are above the window
    assert "must be CENTER,WIDTH" in run(tmp_path, "--window", "40", code=2)


def test_grades_are_listed_in_their_order_on_demand(tmp_path):
    write_classes(tmp_path, {"KL10": 3, "KL2": 3})
    note = "classes are treated as grades, as declared: KL2 < KL10"
    assert note not in " ".join(run(tmp_path).split())
    assert note in " ".join(run(tmp_path, "--ordered").split())
    (tmp_path / "KL2").rename(tmp_path / "none")
    assert "tune-audit: graded classes must each have a number" in run(tmp_path, "--ordered", code=2)


def test_an_input_is_not_replaced_by_the_groups(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_classes(tmp_path / "images", {"a": 3, "b": 3})
    Path("groups.csv").write_text("image,group\n")
    done = CliRunner().invoke(app, ["images", "--groups", "groups.csv", "--write-groups", "groups.csv"])
    assert done.exit_code == 2 and Path("groups.csv").read_text() == "image,group\n"
    (line,) = done.stderr.splitlines()
    assert line == "tune-audit: --write-groups must not be one of the inputs, but groups.csv is: give another name"
