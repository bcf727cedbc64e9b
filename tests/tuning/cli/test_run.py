import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import typer
from mlflow import MlflowClient
from typer.testing import CliRunner

from search_spaces.space import load_space
from tests.hub import DATASET
from tests.images import write_classes, write_pairs
from trainables.core.data.decode.nifti import Slicing
from trainables.core.data.readers.tables.label_columns import LabelTable
from tuning.cli.options.ensemble_options import Views
from tuning.cli.options.resource_options import parse_duration, parse_gpus
from tuning.cli.options.search_options import search_options
from tuning.cli.run import Split, app
from tuning.search.options import HANG_S
from tuning.search.session import NOTHING_BEGAN
from tuning.study.convergence import LEAST, PATIENCE

ROOT = Path(__file__).parents[3]
LUNGS = [
    *("lung_segmentation_space", "--weights", "random", "--image-size", "32"),
    *("--backbone", "mobilenetv3_small_050"),
]


def invoke(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_the_help_states_when_a_search_has_converged():
    helps = {option.name: option.help for option in typer.main.get_command(app).params}
    assert f"once {LEAST} have run in full and none of the last {PATIENCE}" in helps["stop_when_converged"]


def test_two_metrics_cannot_converge():
    result = invoke("demo_space", "--metric", "auroc", "--metric", "latency_ms", "--stop-when-converged")
    assert result.exit_code == 2
    assert "--stop-when-converged needs a single --metric, but got auroc, latency_ms" in result.output


def test_list_prints_one_line_per_space():
    lines = invoke("--list").output.splitlines()
    assert [line.split()[0] for line in lines] == sorted(file.stem for file in ROOT.glob("search_spaces/*_space.py"))
    assert all(len(line.split()) > 2 for line in lines)
    assert len({line.index(line.split(maxsplit=1)[1]) for line in lines}) == 1  # the titles are aligned


def test_help_groups_the_options():
    output = invoke("--help").output
    assert all(group in output for group in ("Data and models", "Search", "Resources", "Storage and tracking"))


def test_a_dry_run_prints_configurations_as_json():
    done = invoke("alzheimer_space", "--dry-run", 12, "--weights", "random", "--image-size", 96, "--max-epochs", 7)
    configs = [json.loads(line) for line in done.output.splitlines()]
    assert done.exit_code == 0
    assert len(configs) == 12
    assert configs[0]["backbone"] == "resnet50"
    assert {(config["image_size"], config["epochs"], config["weights"]) for config in configs} == {(96, 7, "random")}


def test_a_dry_run_of_other_backbones():
    chosen = ("--backbone", "torchvision:squeezenet1_1", "--backbone", "scratch_cnn")
    configs = [json.loads(line) for line in invoke("alzheimer_space", "--dry-run", 20, *chosen).output.splitlines()]
    assert {config["backbone"] for config in configs} == {"torchvision:squeezenet1_1", "scratch_cnn"}


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("1.5h", 5400)]
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "30 m", "2h5", "-1h", "0s", "0h0m"])
def test_invalid_durations_are_refused(text):
    done = invoke("demo_space", "--time-budget", text)
    assert done.exit_code == 2


@pytest.mark.parametrize(("text", "gpus"), [("auto", "auto"), ("0", 0), ("0.25", 0.25), ("2", 2)])
def test_gpus_per_trial_are_a_number_or_measured(text, gpus):
    assert parse_gpus(text) == gpus


@pytest.mark.parametrize("text", ["half", "-1", "nan", "0.00001"])
def test_other_gpus_per_trial_are_refused(text):
    done = invoke("demo_space", f"--gpus-per-trial={text}")
    said = " ".join(done.output.replace("│", " ").split())
    assert done.exit_code == 2
    assert f"GPUs per trial must be 0, at least 0.01, or auto, but got '{text}'" in said


def test_every_default_passes_its_own_parser():
    assert invoke("demo_space", "--dry-run", 1, "--time-budget", "1h", "--trial-timeout", "5m").exit_code == 0
    assert invoke("demo_space", "--dry-run", 1).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo_space", "--metric", "acc"], "the metric must be one of accuracy, "),
        (["demo_space", "--metric", "acc"], "f1/CLASS, patient_NAME, or latency_ms (only as the second --metric), but"),
        (["demo_space", "--metric", "loss"], "choose log_loss"),
        (["demo_space", "--metric", "accuracy", "--metric", "latency"], "but got 'latency'"),
        (
            ["demo_space", "--warm-start", "nowhere"],
            "--warm-start must name a search in --storage, or its folder, but got 'nowhere': no search in",
        ),
        (["demo_space", "--weights", "nowhere"], "weights must be `pretrained`, `random` or a folder"),
        (["demo_space", "--backbone", "resnet19"], "unknown backbone 'resnet19'"),
        (["demo_space", "--backbone", "seresnet18", "--weights", "pretrained"], "timm has no pretrained weights"),
        ([*LUNGS, "--metric", "auroc"], "the metric must be one of dice, iou"),
        ([*LUNGS, "--cv-folds", "3"], "--cv-folds is not available for a segmentation"),
    ],
)
def test_a_dry_run_refuses_what_a_search_would(hub, arguments, message):
    done = invoke(*arguments, "--dry-run", 1)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
    assert hub.asked == []


def test_a_dry_run_fetches_no_weights_and_takes_the_metrics_of_a_class(hub):
    done = invoke("alzheimer_space", "--dry-run", 1, "--metric", "recall/Non_Demented")
    assert (done.exit_code, json.loads(done.stdout)["weights"]) == (0, "pretrained")
    assert hub.asked == []


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNE_RUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "a search space is missing: tune-run --list"),
        (["alzheimer"], "did you mean alzheimer_space?"),
        (["demo_space", "--cache-size", "lots"], "a cache size must be a positive number"),
        (["demo_space", "--metric", "acc"], "the metric must be one of"),
        (["demo_space", "--backbone", "resnet19"], "unknown backbone 'resnet19': did you mean resnet18"),
        (["demo_space", "--backbone", "resnet18", "--weights", "nowhere"], "there is no folder 'nowhere'"),
        (["demo_space", "--data", "./nowhere"], "the data set must be a folder, an s3:// or gs:// address, owner/name"),
        (["demo_space", "--data", "few"], "select has 1: b has too few images"),
        (["demo_space", "--data", "good", "--split", "published"], "needs a published test split, but there is none"),
        (["demo_space", "--data", "good", "--metric", "clinical"], "clinical needs a healthy class"),
        (["demo_space", "--data", "good", "--group-threshold", "0"], "a similarity between 0 and 1, but got 0"),
        (["demo_space", "--data", "broken"], "fix them or use --skip-bad-images"),
        (["demo_space", "--storage", "s3://bucket"], "give --study-storage"),
        (["demo_space", "--study-storage", "postgresql://x@localhost:1/x"], "--study-storage must be the URL"),
        (["demo_space", "--tracking-uri", "nonsense://"], "MLflow must answer at --tracking-uri"),
        (["demo_space", "--resume"], "--resume needs a search"),
        (["demo_space", "--name", "[/x]"], "--name must be letters, digits"),
        (["demo_space", "--data", "x[/y]"], "could not be loaded"),
        ([":SPACE"], "cannot be imported"),
        (["demo_space", "--study", "study.yaml"], "unknown key 'purpos' in the study file study.yaml: did you mean"),
        (["demo_space", "--metric", "loss"], "choose log_loss"),
        (["demo_space", "--metric", "accuracy", "--metric", "accuracy"], "twice with different names"),
        (["demo_space", "--metric", "latency_ms"], "latency_ms can only be the second --metric"),
        (["demo_space", "--backbone", "torchvision:vit_b_16", "--image-size", "64"], "cannot take images of 64 x 64"),
        (["demo_space", "--data", "good", "--address", "localhost:1"], "--address local starts one here"),
        (["demo_space", "--data", "good", "--cpus-per-trial", "999"], "a trial must fit on a node"),
        (["demo_space", "--data", "good", "--roi", "nothing"], "--roi must be models:/NAME@champion"),
        (["demo_space", "--data", "masks"], "demo_space is a classification and needs class folders"),
        ([*LUNGS, "--data", "good"], "is a segmentation and needs folders images/ and masks/"),
        ([*LUNGS, "--data", "masks", "--metric", "auroc"], "the metric must be one of dice, iou"),
        ([*LUNGS, "--data", "masks", "--cv-folds", "3"], "--cv-folds is not available for a segmentation"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(folder, arguments, message):
    write_classes(folder / "few", {"a": 20, "b": 3})
    write_classes(folder / "good", {"a": 20, "b": 8})
    write_classes(folder / "broken", {"a": 20, "b": 8})
    (folder / "broken" / "a" / "000.png").write_bytes(b"")
    write_pairs(folder / "masks", 24)
    (folder / "study.yaml").write_text("purpos: triage\n")
    done = invoke(*arguments)
    assert done.exit_code == 2, done.output
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("tune-run: ")]
    assert message in line
    assert "Traceback" not in done.output
    assert not list(folder.rglob("study.journal"))


def test_a_deleted_experiment_leaves_no_search_behind(folder):
    write_classes(folder / "good", {"a": 20, "b": 8})
    uri = f"sqlite:///{folder}/mlflow.db"
    client = MlflowClient(uri)
    client.delete_experiment(client.create_experiment("demo_space"))
    done = invoke("demo_space", "--data", "good", "--tracking-uri", uri, "--address", "local")
    assert done.exit_code == 2
    assert "the MLflow experiment 'demo_space' is deleted" in done.stderr
    assert not list(folder.rglob("study.journal"))


def test_a_missing_default_folder_is_refused_before_weights_are_fetched(folder, hub):
    done = invoke("chest_xray_space")
    assert done.exit_code == 2
    assert "the data set must be a folder" in done.stderr
    assert "'chest_xray' is the default of chest_xray_space: pass your own data with --data" in done.stderr
    assert hub.asked == []


@pytest.mark.parametrize("arguments", [[], ["--data", DATASET]])
def test_a_missing_hub_data_set_is_refused_before_weights_are_fetched(folder, hub, arguments):
    done = invoke("alzheimer_space", *arguments)
    assert done.exit_code == 2
    assert "or it is private: check the name" in done.stderr
    assert ("is the default of alzheimer_space" in done.stderr) == (not arguments)
    assert [line.split("/")[1] for line in hub.asked] == ["api"]  # one question about data


@pytest.mark.slow
def test_ctrl_c_before_a_search_exists_promises_no_resume(folder, hub):
    """A whole command, which takes seconds to start. It waits for the hub when it is interrupted."""
    hub.fault = "hang"
    command = [sys.executable, "-m", "tuning.cli.run", "demo_space", "--data", DATASET, "--backbone", "scratch_cnn"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    # A suite in the background ignores SIGINT, and so would this command.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, preexec_fn=heed)
    while not hub.asked:
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    assert running.communicate()[0].strip() == NOTHING_BEGAN
    assert running.returncode == 130
    assert not list(folder.rglob("study.journal"))


def test_every_parameter_reaches_the_options():
    names = {parameter.name for parameter in typer.main.get_command(app).params} - {"help"}
    params = {name: name for name in names} | {
        "backbone": ["resnet18"],
        "labels": ["labels"],
        "metric": ["accuracy", "latency_ms"],
        "tta": Views.FLIPS,
        "split": Split.RANDOM,
        "time_budget": 60.0,
        "trial_timeout": None,
        "warm_start": ["earlier", "results/other"],
        "window": "40,400",
        "axis": None,
        "slices": 8,
        "operating_point": "youden",
        "coverage": 0.9,
        "study": None,
    }
    options = search_options(load_space("demo_space"), params)
    assert (options.backbones, options.warm_start) == (("resnet18",), ("earlier", "results/other"))
    assert options.objective.names == ("accuracy", "latency_ms")
    assert (options.time_budget_s, options.trial_timeout_s) == (60.0, HANG_S)
    assert options.window == (40.0, 400.0)
    assert options.slicing == Slicing("axial", 8)
    assert (options.tta, options.split) == ("flips", "random")
    assert (str(options.decisions.points), options.decisions.coverage, options.study_texts) == ("youden", 0.9, None)
    assert options.table == LabelTable(("labels",), image="image_column", label="label_column", split="split_column")
    converted = {
        "space",
        "backbones",
        "warm_start",
        "objective",
        "time_budget_s",
        "trial_timeout_s",
        "tta",
        "split",
        "table",
        "given",
        "window",
        "slicing",
        "decisions",
        "study_texts",
        "continue_budget",
    }
    copied = {field.name for field in dataclasses.fields(options)} - converted
    assert copied == names - {
        "list_spaces", "dry_run", "space", "backbone", "metric", "tta", "split", "time_budget", "trial_timeout",
        "window", "axis", "slices", "labels", "image_column", "label_column", "split_column", "operating_point",
        "coverage", "study", "warm_start",
    }  # fmt: skip
    assert all(getattr(options, name) == name for name in copied)
