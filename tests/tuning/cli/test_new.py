import ast
import shutil

import pytest
from typer.testing import CliRunner

from search_spaces.space import load_space
from tests.images import write_classes
from trainables.core.metric_names import Objective
from tuning.cli.new import app
from tuning.new_space import image_size
from tuning.search.plan import Plan


def new(*arguments, code=0):
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_space_that_is_written_loads_and_says_what_was_found(here):
    write_classes(here / "my scans", {"normal": 40, "tumour": 12}, size=48)
    assert "my_my_scans_space.py: 40 normal, 12 tumour" in new("my scans")
    space = load_space("my_my_scans_space.py")
    assert (space.name, space.data, space.image_size) == ("my_my_scans_space", str(here / "my scans"), 64)
    assert space.healthy is None and space.group_pattern is None  # guesses, which stay comments
    configs = Plan(space, space.backbones, "random", 64, 2, Objective("accuracy"), True, 0).samples(30)
    assert {config["sampler"] for config in configs} == {"shuffle", "weighted"}
    assert configs[0]["backbone"] == "resnet18"  # the recipe
    text = (here / "my_my_scans_space.py").read_text()
    for told in ("52 images of 2 classes, 3.3 : 1", '"normal": 40 (76.9%)', "48 to 48 pixels", '# healthy="normal"'):
        assert told in text, told


def test_even_classes_and_published_splits(here):
    for split, count in (("train", 20), ("val", 4), ("test", 8)):
        write_classes(here / "data" / split, {"a": count, "b": count})
    new("data", "--out", "even.py")
    text = (here / "even.py").read_text()
    assert "Published splits: 16 test, 40 train, 8 val; val is pooled with train." in text
    assert 'choices.sampler(trial, ("shuffle",))' in text
    assert "no name tells which one it is" in text
    # 000.png of every folder would be one group: names without their number are nothing to go by
    assert "group_pattern" not in text


def test_a_hint_of_what_file_names_say(here):
    write_classes(here / "data", {"a": 6, "b": 6})
    for index, file in enumerate(sorted((here / "data").rglob("*.png"))):
        file.rename(file.with_name(f"patient{index // 3}_{index}.png"))
    new("data")
    assert "file names without their last number: 4 groups" in (here / "my_data_space.py").read_text()


def test_names_cannot_break_the_file(here):
    write_classes(here / 'quo"te', {'a"b # c': 4, "$name": 4, "ünï": 4})
    new('quo"te', "--out", "quoted.py")
    ast.parse((here / "quoted.py").read_text())
    assert load_space("quoted.py").data == str(here / 'quo"te')


def test_a_folder_that_is_called_like_a_data_set_is_that_folder(here):
    write_classes(here / "phantoms", {"a": 4, "b": 4})
    assert f"Next: tune-audit {here / 'phantoms'}" in new("phantoms")
    assert load_space("my_phantoms_space.py").data == str(here / "phantoms")


def test_what_was_not_looked_at_is_not_told_of(here, monkeypatch):
    monkeypatch.setattr("tuning.new_space._LOOKED_AT", 5)
    write_classes(here / "data", {"a": 8, "b": 8})
    for file in (here / "data").rglob("*.png"):
        file.write_bytes(b"")
    new("data")
    told = "5 of the 5 that were looked at are no readable images: mend them, or pass --skip-bad-images."
    assert told in (here / "my_data_space.py").read_text()


def test_nothing_is_overwritten_without_force(here):
    write_classes(here / "data", {"a": 4, "b": 4})
    (here / "my_data_space.py").write_text("mine")
    assert "my_data_space.py is there already: give another --out, or --force" in new("data", code=2)
    assert (here / "my_data_space.py").read_text() == "mine"
    new("data", "--force")
    assert load_space("my_data_space.py").name == "my_data_space"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "DIR must be a folder of images, but nowhere is none"),
        (("data/typo",), "DIR must be a folder of images, but data/typo is none"),  # it is not sought on the hub
        (("data/a/000.png",), "DIR must be a folder of images"),
        (("phantoms",), "DIR must be a folder of images"),
        (("empty",), "has no images"),
        (("stray",), "stray 0 of 2 do"),
        (("lonely",), "at least two classes must have images, but in "),
        (("data", "--out", "space.txt"), "--out must be a file that ends in .py"),
        (("data", "--out", "no/such/folder.py"), "must be a file that can be written"),
    ],
)
def test_mistakes_are_one_line(here, arguments, message):
    for folder in ("empty", "stray/a", "stray/b", "lonely/b"):
        (here / folder).mkdir(parents=True)
    write_classes(here / "lonely", {"a": 1})
    shutil.copy(here / "lonely" / "a" / "000.png", here / "stray")
    write_classes(here / "data", {"a": 4, "b": 4})
    assert message in new(*arguments, code=2)


@pytest.mark.parametrize(("side", "expected"), [(1024, 224), (224, 224), (200, 224), (100, 128), (28, 32), (8, 32)])
def test_the_input_is_as_large_as_the_images_up_to_224(side, expected):
    assert image_size(side) == expected
