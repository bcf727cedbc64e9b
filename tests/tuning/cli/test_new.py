import ast
import shlex
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from search_spaces.space import load_space
from tests.images import png, write_classes, write_labelled
from trainables.core.data.readers.open_source import open_source
from trainables.core.data.readers.tables.label_columns import LabelTable
from trainables.core.metric_names import Objective
from tuning.cli.audit import app as audit_app
from tuning.cli.new import app
from tuning.search.plan import Plan


def new(*arguments, code=0):
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_written_space_loads_and_describes_the_images(here):
    write_classes(here / "my scans", {"normal": 40, "tumour": 12}, size=48)
    assert "my_my_scans_space.py: 40 normal, 12 tumour" in new("my scans")
    space = load_space("my_my_scans_space.py")
    assert (space.name, space.data, space.image_size) == ("my_my_scans_space", str(here / "my scans"), 64)
    assert space.healthy == "normal" and space.group_pattern is None  # which stays a comment
    configs = Plan(space, space.backbones, "random", 64, 2, Objective("accuracy"), True, 0).samples(30)
    assert {config["sampler"] for config in configs} == {"shuffle", "weighted"}
    assert configs[0]["backbone"] == "resnet18"  # the recipe
    text = (here / "my_my_scans_space.py").read_text()
    size = "the largest is 3.3 times the smallest"
    for part in ("52 images of 2 classes", size, '"normal": 40 (76.9%)', "48 to 48 pixels", '    healthy="normal",'):
        assert part in text, part


@pytest.mark.parametrize(
    ("names", "healthy"),
    [
        (("abnormal", "normal"), "normal"),
        (("Mild_Demented", "Non_Demented"), "Non_Demented"),
        (("No Finding", "mass"), "No Finding"),
        (("negative", "positive"), "negative"),
        (("normal_left", "normal_right", "tumour"), None),
        (("non-small-cell", "small-cell"), None),
        (("lung_aca", "lung_n"), None),
    ],
)
def test_a_class_is_healthy_if_its_name_alone_says_so(here, names, healthy):
    write_classes(here / "scans", dict.fromkeys(names, 3))
    output = new("scans")
    assert load_space("my_scans_space.py").healthy == healthy
    known = f"{healthy} is taken as the class without a disease because of its name (--healthy CLASS)"
    unknown = f"no class name says which class has no disease: name it with --healthy ({', '.join(sorted(names))})"
    assert (known if healthy else unknown) in " ".join(output.split())


def test_the_healthy_class_can_be_given(here):
    write_classes(here / "scans", {"a": 3, "normal": 3})
    new("scans", "--healthy", "a")
    assert load_space("my_scans_space.py").healthy == "a"
    assert "healthy" in (text := (here / "my_scans_space.py").read_text()) and "# healthy=" not in text
    assert "--healthy must be one of a, normal, but got 'b'" in new("scans", "--healthy", "b", "--force", code=2)


def test_even_classes_and_published_splits(here):
    for split, count in (("train", 20), ("val", 4), ("test", 8)):
        write_classes(here / "data" / split, {"a": count, "b": count})
    new("data", "--out", "even 2.py")
    assert load_space("even 2.py").name == "even_2"
    text = (here / "even 2.py").read_text()
    assert "Published splits: 16 test, 40 train, 8 val; val is pooled with train." in text
    assert 'choices.sampler(trial, ("shuffle",))' in text
    assert "Replace it by the right one." in text
    # every folder has a 000.png, so names without their number do not identify groups
    assert "group_pattern" not in text


def test_file_names_suggest_a_group_pattern(here):
    write_classes(here / "data", {"a": 6, "b": 6})
    for index, file in enumerate(sorted((here / "data").rglob("*.png"))):
        file.rename(file.with_name(f"patient{index // 3}_{index}.png"))
    new("data")
    assert "file names up to their last number (4 groups)" in (here / "my_data_space.py").read_text()


def test_file_names_that_begin_with_their_split_are_no_groups(here):
    write_classes(here / "data", {"a": 101, "b": 101}, size=8)
    for index, file in enumerate(sorted((here / "data").rglob("*.png"))):
        file.rename(file.with_name(f"{'test' if index % 10 == 0 else 'train'}-{index}.png"))
    new("data")
    assert "group_pattern" not in (here / "my_data_space.py").read_text()


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (
            ("mild", "none", "severe"),
            'list them from the lowest to the highest:\n    # ordered=("mild", "none", "severe"),',
        ),
        (("0", "1", "2"), "treated as grades. If they have no order:\n    # ordered=False,"),
    ],
)
def test_grades_are_suggested(here, names, line):
    write_classes(here / "data", dict.fromkeys(names, 4))
    new("data")
    assert line in (here / "my_data_space.py").read_text()


def test_names_cannot_break_the_file(here):
    write_classes(here / 'quo"te', {'a"b # c': 4, "$name": 4, "ünï": 4})
    new('quo"te', "--out", "quoted.py")
    ast.parse((here / "quoted.py").read_text())
    assert load_space("quoted.py").data == str(here / 'quo"te')


def test_a_folder_named_like_a_data_set_is_used_as_a_folder(here):
    write_classes(here / "phantoms", {"a": 4, "b": 4})
    assert f"Next: tune-audit {here / 'phantoms'}" in new("phantoms")
    assert load_space("my_phantoms_space.py").data == str(here / "phantoms")


def test_files_and_images_that_are_not_used_are_named(here):
    write_classes(here / "scans", {"normal": 6, "tumour": 6})
    shutil.copy(here / "scans" / "normal" / "000.png", here / "scans" / "stray.png")
    (here / "scans" / "list.txt").touch()
    output = " ".join(new("scans").split())
    assert "Note: 1 image in no class folder, and so without a label (stray.png)." in output
    assert "Note: 1 file was not read: 1 .txt." in output


def test_unreadable_images_are_counted_among_the_opened_ones(here, monkeypatch):
    monkeypatch.setattr("tuning.folder_summary._MAX_OPENED", 5)
    write_classes(here / "data", {"a": 8, "b": 8})
    for file in (here / "data").rglob("*.png"):
        file.write_bytes(b"")
    new("data")
    line = "5 of 5 opened images cannot be read: repair them, or pass --skip-bad-images."
    assert line in (here / "my_data_space.py").read_text()


def test_nothing_is_overwritten_without_force(here):
    write_classes(here / "data", {"a": 4, "b": 4})
    (here / "my_data_space.py").write_text("mine")
    assert "my_data_space.py exists: give another --out, or --force" in new("data", code=2)
    assert (here / "my_data_space.py").read_text() == "mine"
    new("data", "--force")
    assert load_space("my_data_space.py").name == "my_data_space"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "DIR must be a folder of images, but nowhere is not a folder"),
        (("data/typo",), "DIR must be a folder of images, but data/typo is not a folder"),  # and not a Hub name
        (("data/a/000.png",), "DIR must be a folder of images"),
        (("phantoms",), "DIR must be a folder of images"),
        (("empty",), "has no images"),
        (("stray",), "stray 0 of 2 do"),
        (("lonely",), "at least two classes must have images, but in "),
        (("data", "--out", "space.txt"), "--out must end in .py"),
        (("data", "--out", "no/such/folder.py"), "--out must be a file in an existing folder, but no/such is not one"),
        (
            ("nowhere", "--out", "folder.py", "--force"),
            "--out must be a file in an existing folder, but folder.py is a",
        ),
    ],
)
def test_mistakes_are_one_line(here, arguments, message):
    for folder in ("empty", "stray/a", "stray/b", "lonely/b", "folder.py"):
        (here / folder).mkdir(parents=True)
    write_classes(here / "lonely", {"a": 1})
    shutil.copy(here / "lonely" / "a" / "000.png", here / "stray")
    write_classes(here / "data", {"a": 4, "b": 4})
    assert message in new(*arguments, code=2)


def test_a_table_of_labels_becomes_part_of_the_space(here):
    (here / "scans").mkdir()
    lines = [f"{index:03},{'normal' if index % 2 else 'ill'},p{index // 4}" for index in range(24)]
    for index in range(24):
        (here / "scans" / f"{index:03}.png").write_bytes(png(np.full((32, 32), index, dtype=np.uint8)))
    (here / "scans" / "labels.csv").write_text("\n".join(["scan,diagnosis,person_nr", *lines]))
    output = new("scans", "--labels", "labels.csv", "--image-column", "scan", "--group-column", "person_nr")
    assert "Note: columns of the table: image = scan, label = diagnosis, group = person_nr." in output
    space = load_space("my_scans_space.py")
    assert space.table == LabelTable(("labels.csv",), image="scan", group="person_nr")
    assert open_source(space.data, table=space.table).class_names == ("ill", "normal")
    assert "group_pattern" not in (here / "my_scans_space.py").read_text()
    assert "--image-column needs --labels FILE" in new("scans", "--image-column", "scan", "--force", code=2)


def test_the_printed_commands_work_for_columns_of_unknown_names(here):
    (here / "my scans").mkdir()
    for index in range(24):
        (here / "my scans" / f"{index:03}.png").write_bytes(png(np.full((32, 32), index, dtype=np.uint8)))
    lines = [f"{index:03},{'normal' if index % 2 else 'ill'},p{index // 4},{index}" for index in range(24)]
    (here / "l.csv").write_text("\n".join(["fid,the dx,pat,z", *lines]))
    columns = ("--image-column", "fid", "--label-column", "the dx", "--group-column", "pat")
    output = new("my scans", "--labels", "l.csv", *columns, "--out", "even 2.py")
    audit, dry_run = output.splitlines()[-1].removeprefix("Next: ").split(", then ")
    command, *arguments = shlex.split(audit)
    done = CliRunner().invoke(audit_app, arguments)
    assert (command, done.exit_code) == ("tune-audit", 0), done.output
    assert "6 subjects (as given)" in done.output
    assert shlex.split(dry_run) == ["tune-run", "even 2.py", "--dry-run", "5"]
    space = load_space("even 2.py")  # holds what the audit was given
    assert (space.table.image, space.table.label, space.table.group) == ("fid", "the dx", "pat")


def test_a_table_of_several_labels_gives_a_space_of_that_task(here):
    write_labelled(here / "scans", 40)
    assert "images have any number of 3 labels (dots, left, right)" in new("scans", "--labels", "labels.csv")
    space = load_space("my_scans_space.py")
    assert (space.task, space.metric) == ("multi_label", "auroc")
    assert space.table == LabelTable(("labels.csv",))
    configs = Plan(space, space.backbones, "random", 32, 2, Objective("auroc"), True, 0).samples(30)
    assert {config["loss"] for config in configs} == {"bce", "focal", "asymmetric"}
    text = (here / "my_scans_space.py").read_text()
    assert "# 40 images of 3 labels; the largest is " in text
    assert "healthy" not in text
