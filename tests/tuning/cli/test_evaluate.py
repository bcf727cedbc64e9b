import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, recall_score, roc_auc_score
from typer.testing import CliRunner

from tests.images import write_labelled, write_pairs
from tests.trainables.core.serving.ensembles.test_multi_label_ensemble import saved  # noqa: F401
from tests.tuning.evaluate.conftest import model, second, trained  # noqa: F401
from trainables.core.data.readers.tables.label_columns import LabelTable
from trainables.core.data.splits.groups import Grouping
from trainables.core.errors import UserError
from trainables.core.serving.ensemble_files import ensemble_folder, open_ensemble
from tuning.cli.evaluate import app
from tuning.evaluate.data.external_data import ExternalDataRequest
from tuning.evaluate.evaluate import EvaluateOptions

TABLE = ("--labels", "labels.csv", "--map", "TB=ill")


@pytest.fixture(autouse=True)
def apart(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("COLUMNS", "160")


def invoke(*arguments, code=0):
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == code, done.output + done.stderr
    return done


def read(file):
    return json.loads(Path(file).read_text())


def table(file):
    with file.open() as opened:
        return list(csv.DictReader(opened))


def predicted(model, folder):  # noqa: F811
    """The probabilities of the served model, by image and by patient, and the truth."""
    rows = table(folder / "labels.csv")
    images = [(folder / f"{row['image']}.png").read_bytes() for row in rows]
    frame = open_ensemble(ensemble_folder(model), torch.device("cpu")).predict(images)
    return frame[["ill", "normal"]].to_numpy(np.float64), np.array([row["finding"] == "TB" for row in rows])


@pytest.mark.timeout(180)  # three bootstraps of two levels
def test_all_figures_are_those_of_the_served_model(model, second):  # noqa: F811
    output = invoke(
        model, second, *TABLE, "--by", "site,age", "--prevalence", 0.1, "--json", "out.json", "--report", "out.html"
    ).output
    result = read("out.json")
    probabilities, ill = predicted(model, second)
    scores, called = result["evaluation"]["ensemble"], probabilities[:, 0].astype(np.float32) >= np.float32(0.45)
    assert scores["metrics"]["auroc"] == pytest.approx(roc_auc_score(ill, probabilities[:, 0]))
    assert scores["metrics"]["log_loss"] == pytest.approx(log_loss(ill, probabilities[:, 0]), abs=1e-6)
    assert scores["metrics"]["sensitivity"] == pytest.approx(recall_score(ill, called))
    assert scores["metrics"]["specificity"] == pytest.approx(recall_score(~ill, ~called))
    of_patients = probabilities.reshape(60, 2, 2).mean(axis=1)
    patients = result["evaluation"]["patients"]["ensemble"]["metrics"]
    assert patients["auroc"] == pytest.approx(roc_auc_score(ill[::2], of_patients[:, 0]))
    low, high = scores["intervals"]["auroc"]
    assert low < scores["metrics"]["auroc"] < high
    assert {one["unit"] for one in result["at_prevalence"]} == {"image", "patient"}
    assert [division["column"] for division in result["divisions"]] == ["site", "age"]
    assert [one["images"] for one in result["divisions"][1]["subgroups"]] == [40, 50, 30]
    assert result["copies"]["images"] == 0 and result["shift"]["test"]["images"] == 60
    assert result["images"] == 120
    assert output.splitlines()[0].endswith("120 images in 60 groups: 60 TB, 60 normal")
    assert "Not logged: MLflow lists evaluations of models:/ and runs:/ only." in output
    page = Path("out.html").read_text()
    assert f"AUROC {scores['metrics']['auroc']:.3f} [{low:.3f}, {high:.3f}]" in page and "Decision curve of ill" in page


def test_copies_of_images_of_the_search_and_unreadable_images_are_left_out(model, second, trained, tmp_path):  # noqa: F811
    """Without the images of the search, equal ones are found by the features that the model stores."""
    shutil.copytree(second, "mixed")
    first = sorted((tmp_path / trained.data.place / "ill").glob("*.png"))[:6]
    Path("mixed/000.png").write_bytes(b"no image")
    with Path("mixed/labels.csv").open("a") as listing:
        for number, file in enumerate(first):
            shutil.copy(file, f"mixed/copy{number}.png")
            listing.write(f"copy{number},TB,{'q' if number else 'p'}{number},A,50\n")
    output = invoke(model, "mixed", *TABLE, "--json", "a.json").output
    assert "Copies of images of the search, which were left out: 6 (copy0.png, " in output
    assert "...) and 1 other images of their groups" in output
    assert "compared with the 80 images of the search" in output
    assert "Not scored: 1 not a readable image" in output and "External evaluation: 118 images" in output
    unknown = trained.save(tmp_path / "unknown", open_ensemble(ensemble_folder(model)).training_features, data="gone")
    output = invoke(unknown, "mixed", *TABLE, "--json", "b.json").output
    assert "left out: 6 (copy0.png, " in output and "have changed or are gone" in output
    assert read("a.json")["evaluation"] == read("b.json")["evaluation"]
    silent = trained.save(tmp_path / "silent", open_ensemble(ensemble_folder(model)).training_features, data=None)
    output = invoke(silent, "mixed", *TABLE).output
    assert (
        "left out: 6 (copy0.png, " in output and "the model does not say where the images of the search are" in output
    )
    nothing = trained.save(tmp_path / "nothing", data=None)
    assert "could not be looked for" in invoke(nothing, "mixed", *TABLE).output


@pytest.mark.parametrize(
    ("kept", "figure", "missing"), [("TB", "sensitivity", "specificity"), ("normal", "specificity", "sensitivity")]
)
def test_a_hospital_with_a_single_class_gets_the_figures_that_exist(model, second, kept, figure, missing):  # noqa: F811
    """Such as a screening clinic, whose healthy people show the specificity."""
    lines = (second / "labels.csv").read_text().splitlines()
    Path("some.csv").write_text("\n".join([lines[0], *(line for line in lines if f",{kept}," in line)]) + "\n")
    mapped = ["--map", "TB=ill"] if kept == "TB" else []
    output = invoke(
        model, second, "--labels", "some.csv", *mapped, "--by", "site", "--json", "a.json", "--report", "a.html"
    ).output
    result = read("a.json")
    metrics = result["evaluation"]["ensemble"]["metrics"]
    probabilities, ill = predicted(model, second)
    called = probabilities[:, 0].astype(np.float32) >= np.float32(0.45)
    assert metrics[figure] == pytest.approx((called[ill] if kept == "TB" else ~called[~ill]).mean())
    low, high = result["evaluation"]["ensemble"]["intervals"][figure]
    assert low <= metrics[figure] <= high and 0 < high - low < 1
    assert not {missing, "auroc", "ppv", "npv"} & set(metrics)
    assert f"Note: DATA has no images of {'normal' if kept == 'TB' else 'ill'}" in output
    assert "All images are alike, so there is no curve." in Path("a.html").read_text()


@pytest.mark.parametrize(
    ("column", "why"),
    [("row", "DATA does not say which images are of one patient"), ("patient", "each patient has one image")],
)
def test_a_metric_by_patient_leads_by_image_where_no_patient_has_several_images(
    trained,  # noqa: F811
    second,  # noqa: F811
    tmp_path,
    column,
    why,
):
    rows = table(second / "labels.csv")[::3]
    lines = [f"{row['image']},{row['finding']},{number}" for number, row in enumerate(rows)]
    Path("single.csv").write_text("\n".join([f"image,finding,{column}", *lines]) + "\n")
    model = trained.save(tmp_path / "model", metric="patient_auroc")  # noqa: F811
    single = "--labels", "single.csv", "--map", "TB=ill", "--label-column", "finding"
    output = invoke(model, second, *single, "--json", "a.json", "--report", "a.html").output
    value = read("a.json")["evaluation"]["ensemble"]["metrics"]["auroc"]
    assert f": auroc {value:.3f} [" in output and f"AUROC {value:.3f} [" in Path("a.html").read_text()
    assert f"Note: the model was chosen by patient_auroc, but {why}" in output
    assert "so auroc leads, and nothing is scored by patient" in " ".join(output.split())


def test_images_of_the_search_only_are_refused(model, trained):  # noqa: F811
    refusal = invoke(model, trained.data.place, code=2).stderr
    assert "but 80 are copies of its images (ill/000.png, " in refusal and "give images from elsewhere" in refusal


def test_a_recalibration_is_fitted_to_some_groups_and_scored_on_the_others(model, second):  # noqa: F811
    output = invoke(model, second, *TABLE, "--recalibrate", 0.4, "--json", "out.json").output
    result = read("out.json")
    assert (result["images"], result["recalibrated"]["images"], result["evaluation"]["groups"]) == (72, 48, 36)
    before, after = result["evaluation"]["ensemble"], result["recalibrated"]["evaluation"]["ensemble"]
    assert after["metrics"]["log_loss"] < before["metrics"]["log_loss"]
    assert after["metrics"]["auroc"] == pytest.approx(before["metrics"]["auroc"], abs=1e-6)
    assert "were fitted to 48 images, 40% of the groups of each class" in output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--labels", "labels.csv"), "DATA has TB: if 'TB' means 'ill', add --map 'TB'='ill'"),
        ((*TABLE, "--by", "ward"), "--by must name columns of --labels or --groups, or DICOM tags, but got 'ward'"),
        ((*TABLE, "--by", ","), "--by must name columns, such as site,sex, but got ','"),
        ((*TABLE, "--prevalence", "1"), "--prevalence must be a share between 0 and 1, but got 1"),
        ((*TABLE, "--recalibrate", "0.001"), "--recalibrate must leave groups of each class on both sides"),
        ((*TABLE, "--json", "no/such.json"), "--json must be a file in an existing folder"),
        ((*TABLE, "--report", "."), "--report must be a file in an existing folder, but . is a folder"),
    ],
)
def test_wrong_usage_is_one_line(model, second, options, message):  # noqa: F811
    refusal = invoke(model, second, *options, code=2).stderr
    assert message in refusal and refusal.startswith("tune-evaluate: ") and refusal.count("\n") == 1


def test_masks_are_refused_for_a_classifier(model):  # noqa: F811
    write_pairs(Path("pairs"), 4)
    assert "DATA must be labelled as the model answers, by class" in invoke(model, "pairs", code=2).stderr


def test_labels_that_the_data_lack_are_left_out_of_all_figures(saved, tmp_path):  # noqa: F811
    write_labelled(tmp_path / "images", 60, seed=5)
    rows = table(tmp_path / "images" / "labels.csv")
    has = np.array([[label in row["labels"].split("|") for label in ("left", "dots")] for row in rows])
    lines = [f"{row['image']},{one},{other}" for row, (one, other) in zip(rows, has.astype(int), strict=True)]
    Path("some.csv").write_text("\n".join(["image,left,dots", *lines]) + "\n")
    output = invoke(
        saved[0], "images", "--labels", "some.csv", "--label-column", "left,dots", "--json", "a.json"
    ).output
    assert "Note: DATA has no images of right: averages over classes or labels are of the others" in output
    result, ensemble = read("a.json"), open_ensemble(saved[0], torch.device("cpu"))
    frame = ensemble.predict([(tmp_path / "images" / f"{row['image']}.png").read_bytes() for row in rows])
    metrics = result["evaluation"]["ensemble"]["metrics"]
    areas = {name: roc_auc_score(truth, frame[name]) for name, truth in zip(("left", "dots"), has.T, strict=True)}
    assert {name.partition("/")[2]: value for name, value in metrics.items() if name.startswith("auroc/")} == (
        pytest.approx(areas)
    )
    assert metrics["auroc"] == pytest.approx(np.mean(list(areas.values())))
    places = [ensemble.class_names.index(name) for name in result["class_names"]]
    thresholds = [saved[2].thresholds[place] for place in places]
    called = [
        np.float32(frame[name]) >= np.float32(limit)
        for name, limit in zip(result["class_names"], thresholds, strict=True)
    ]
    truth = dict(zip(("left", "dots"), has.T, strict=True))
    for name, decided in zip(result["class_names"], called, strict=True):
        assert metrics[f"sensitivity/{name}"] == pytest.approx(recall_score(truth[name], decided))


def test_an_input_is_not_replaced_by_the_result(tmp_path):
    for name in ("labels.csv", "groups.csv"):
        (tmp_path / name).touch()
    request = ExternalDataRequest(str(tmp_path), LabelTable(("labels.csv",)), Grouping(file="groups.csv"), {})
    for options in ({"json_file": Path("labels.csv")}, {"report": tmp_path / "groups.csv"}):
        with pytest.raises(UserError, match="^--(json|report) must not be one of the inputs, but .* is: give another"):
            EvaluateOptions("model", request, **options).check()
    EvaluateOptions("model", request, json_file=Path("result.json"), report=Path("result.html")).check()
