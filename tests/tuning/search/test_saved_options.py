"""``tune-run --resume NAME``: the options are in the study."""

from typing import get_type_hints

import pytest
from typer.testing import CliRunner

from search_spaces.space import load_space
from trainables.core.metric_names import Objective
from tuning.cli.run import app
from tuning.cli.run import run as command
from tuning.search import session
from tuning.search.saved_options import to_save
from tuning.study.attributes import mark_finished, save_options
from tuning.study.search_folder import find_folder

SPACE = """
from dataclasses import replace
from search_spaces.demo_space import SPACE
SPACE = replace(SPACE, name="mine")
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A function that runs the command in a folder, saves its options as a search does, and returns them."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "images").mkdir()
    (tmp_path / "space.py").write_text(SPACE)
    monkeypatch.chdir(tmp_path)
    started = []

    def start(options, console):
        folder = find_folder(
            options.storage, options.name or options.space.name, None, options.resume, options.name is not None
        )
        with folder.open(Objective("accuracy"), 3, 0) as study:
            save_options(study, options.given)
            mark_finished(study, True)
        started.append((folder.name, options))
        return 0

    monkeypatch.setattr(session, "run", start)

    def run(*arguments):
        done = CliRunner().invoke(app, list(map(str, arguments)))
        assert done.exit_code == 0, done.output
        return started[-1]

    return run


GIVEN = [
    *("--data", "images", "--num-samples", 7, "--metric", "accuracy", "--metric", "latency_ms", "--time-budget", "2h"),
    *("--tta", "flips", "--split", "random", "--no-pruning", "--backbone", "scratch_cnn", "--seed", 4),
]


@pytest.mark.parametrize("name", [None, "study-1"])
def test_the_name_alone_resumes_a_search_with_its_options(run, tmp_path, name):
    first_name, first = run("space.py", *GIVEN, *(["--name", name] if name else []))
    again_name, again = run("--resume", first_name)
    assert again_name == first_name == (name or "mine")
    assert again.data == str(tmp_path / "images")
    assert again.space.name == "mine"
    for option in (
        "num_samples",
        "objective",
        "time_budget_s",
        "tta",
        "split",
        "pruning",
        "backbones",
        "seed",
        "weights",
    ):
        assert getattr(again, option) == getattr(first, option), option
    assert again.resume


def test_what_is_given_again_counts_and_is_saved(run):
    run("space.py", *GIVEN)
    assert run("space.py", "--resume", "--num-samples", 9)[1].num_samples == 9
    again = run("--resume", "mine")[1]
    assert (again.num_samples, again.seed) == (9, 4)


def test_only_a_time_budget_that_is_given_again_is_a_new_one(run):
    assert not run("space.py", *GIVEN)[1].continue_budget
    assert run("--resume", "mine")[1].continue_budget
    assert not run("--resume", "mine", "--time-budget", "2h")[1].continue_budget
    assert run("--resume", "mine")[1].continue_budget


def test_the_space_alone_resumes_the_latest_search(run):
    run("demo_space", "--seed", 1)
    name, _ = run("demo_space", "--seed", 2)
    assert name == "demo_space-2"
    resumed, options = run("demo_space", "--resume")
    assert (resumed, options.seed, options.space.name) == (name, 2, load_space("demo_space").name)
    assert run("--resume", "--name", "demo_space")[1].seed == 1


def test_a_name_of_nothing_is_refused_as_the_name_of_a_search(run):
    run("demo_space")
    for name, reason in (("demo-spce", "has no search 'demo-spce', and there is no such space"), ("no.py", "no.py")):
        done = CliRunner().invoke(app, ["--resume", name])
        assert done.exit_code == 2 and reason in done.output
        assert ("has no search" in done.output) == (name == "demo-spce")


def test_a_tracking_server_of_the_environment_counts(run, monkeypatch):
    run("demo_space", "--tracking-uri", "sqlite:////a.db")
    assert run("demo_space", "--resume")[1].tracking_uri == "sqlite:////a.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////b.db")
    assert run("demo_space", "--resume")[1].tracking_uri is None


# Text options that are no paths. The tracking URI becomes absolute when it
# is saved in the study, and the folder of a --warm-start is part of the search's identity as it was given.
NO_PATHS = {
    *("backbone", "metric", "warm_start", "tracking_uri", "address", "cache_size", "window", "operating_point"),
    *("image_column", "label_column", "split_column", "group_column", "group_pattern"),
}


def test_every_option_that_is_a_path_is_saved_as_an_absolute_one(tmp_path, monkeypatch):
    """A search may be resumed from another folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    value_of = {str: "file", str | None: "file", list[str] | None: ["file"]}
    saved = to_save({name: value_of[hint] for name, hint in get_type_hints(command).items() if hint in value_of})
    absolute = str(tmp_path / "file")
    paths = {name for name, value in saved.items() if value in (absolute, [absolute])}
    assert paths == saved.keys() - NO_PATHS == {"space", "data", "labels", "weights", "roi", "groups"}
