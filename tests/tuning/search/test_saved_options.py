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
from tuning.study.attributes import mark_finished, read_options, save_data_request, save_options
from tuning.study.data_request import DataRequest
from tuning.study.identity import check_identity
from tuning.study.search_folder import existing_folder, find_folder

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
            check_identity(study, {"space": options.space.name})
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
    *("space", "image_column", "label_column", "split_column", "group_column", "group_pattern"),
}


def test_every_option_that_is_a_path_is_saved_as_an_absolute_one(tmp_path, monkeypatch):
    """A search may be resumed from another folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "space.py").touch()
    value_of = {str: "file", str | None: "file", list[str] | None: ["file"]}
    assert to_save({"space": "space.py"}) == {"space": str(tmp_path / "space.py")}
    saved = to_save({name: value_of[hint] for name, hint in get_type_hints(command).items() if hint in value_of})
    absolute = str(tmp_path / "file")
    paths = {name for name, value in saved.items() if value in (absolute, [absolute])}
    assert paths == saved.keys() - NO_PATHS == {"data", "labels", "weights", "roi", "groups"}


def test_folders_with_the_names_of_spaces_and_keywords_do_not_take_their_place(run, tmp_path):
    for name in ("demo_space", "phantoms", "pretrained"):
        (tmp_path / name).mkdir()
    run("demo_space", "--data", "phantoms", "--weights", "pretrained", "--storage", ".")
    options = run("--resume", "demo_space", "--storage", ".")[1]
    assert (options.space.name, options.data_request().place, options.plan().weights) == (
        *("demo_space", "phantoms", "pretrained"),
    )


def test_a_search_keeps_its_own_copy_of_the_segmentation_unless_another_one_is_given(run, tmp_path):
    """An alias, such as @champion, may have moved."""
    alias, copy = "models:/lungs@champion", tmp_path / "results" / "demo_space" / "roi-0123"
    run("demo_space", "--roi", alias)
    assert run("--resume", "demo_space")[1].roi == alias  # the search ended before it had a copy
    _, study = existing_folder("results", "demo_space", None)
    save_data_request(study, DataRequest("phantoms", 0, roi=str(copy)))
    assert run("--resume", "demo_space")[1].roi == alias
    copy.mkdir()
    assert run("--resume", "demo_space")[1].roi == str(copy)
    assert run("--resume", "demo_space")[1].roi == str(copy)
    assert run("--resume", "demo_space", "--roi", alias)[1].roi == alias


def test_an_older_version_saved_a_folder_in_place_of_a_space(run, tmp_path):
    run("demo_space")
    _, study = existing_folder("results", "demo_space", None)
    save_options(study, read_options(study) | {"space": str(tmp_path / "demo_space")})
    assert run("--resume", "demo_space")[1].space.name == "demo_space"


@pytest.mark.parametrize(
    "place", ["abfss://container@account.dfs.core.windows.net/scans", "hdfs://alice@namenode:8020/scans"]
)
def test_a_container_or_an_account_stays_in_the_address(run, place):
    run("demo_space", "--data", place)
    assert run("--resume", "demo_space")[1].data == place


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["demo_space", "--study-storage", "postgresql://127.0.0.1:1/x"], "--study-storage must be the URL of a datab"),
        (["demo_space", "--storage", "s3://bucket"], "a study cannot be stored on s3://bucket: give --study-storage"),
        (["--name", "tpyo"], "no search in results is called 'tpyo' (found: demo_space): pass another name"),
        ([], "--resume needs the name of a search, as in tune-run --resume NAME"),
        (["tissue_space"], "has none of 'tissue_space': omit --resume to start one, or give its --name"),
    ],
)
def test_a_refusal_to_resume_says_the_reason(run, arguments, reason):
    run("demo_space")
    done = CliRunner().invoke(app, ["--resume", *arguments])
    assert done.exit_code == 2 and reason in " ".join(done.output.split()), done.output


def test_a_search_of_another_space_is_resumed_by_its_name_only(run):
    run("tissue_space", "--name", "demo_space-2")
    run("demo_space")
    for arguments in (["demo_space", "--resume"], ["--resume", "demo_space"]):
        assert run(*arguments)[0] == "demo_space"
    run("demo_space", "--name", "tissue_space")
    done = CliRunner().invoke(app, ["tissue_space", "--resume"])
    assert done.exit_code == 2 and "has none of 'tissue_space'" in " ".join(done.output.split())
    assert run("--resume", "--name", "tissue_space")[1].space.name == "demo_space"
