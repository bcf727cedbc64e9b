import csv
import json
import shutil
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import torch
from ray.cluster_utils import Cluster
from typer.testing import CliRunner

from tests.images import png, write_classes
from tests.trainables.core.data.readers.test_unlabelled import write_parquet
from tests.trainables.core.serving.ensembles.test_segmentation_ensemble import trained  # noqa: F401
from tests.trainables.core.serving.test_score_images import folder as model  # noqa: F401
from trainables.core.serving.ensemble_files import open_ensemble
from tuning.cli.predict import app
from tuning.predict import cluster_scoring as scoring


@pytest.fixture(autouse=True)
def apart(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def invoke(*arguments, code=0):
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == code, done.output + done.stderr
    return done


def table(file):
    with Path(file).open(newline="") as opened:
        return list(csv.DictReader(opened))


def test_a_folder_is_scored_into_a_table(model, tmp_path):  # noqa: F811
    write_classes(tmp_path / "images", {"a": 3, "b": 70})
    output = invoke(model, "images", "--out", "out.csv").output
    rows = table("out.csv")
    assert "73 of 73 images scored: out.csv" in output
    assert [row["file"] for row in rows] == [
        str(file.relative_to(tmp_path)) for file in sorted((tmp_path / "images").rglob("*.png"))
    ]
    expected = open_ensemble(model, torch.device("cpu")).predict([Path(row["file"]).read_bytes() for row in rows])
    expected = expected[["few", "many", "some"]]
    found = np.array([[float(row[name]) for name in expected.columns] for row in rows])
    np.testing.assert_allclose(found, expected.to_numpy(), atol=1e-6)
    assert [row["class"] for row in rows] == list(expected.idxmax(axis=1))


def test_images_unlike_the_training_images_are_listed_and_counted(model, tmp_path):  # noqa: F811
    write_classes(tmp_path / "images", {"a": 3, "b": 3})
    for index in range(12):
        (tmp_path / "images" / f"blank{index:02}.png").write_bytes(png(np.full((32, 32), 9, np.uint8)))
    (tmp_path / "images" / "torn.png").write_bytes(b"no image")
    output = invoke(model, "images", code=1).output
    assert output.count("unlike the training images: images/blank") == 10
    assert "and 2 more: see the column unlike_training of predictions.csv" in output
    assert output.splitlines()[-1] == ("18 of 19 images scored, 12 of them unlike the training images: predictions.csv")
    assert [row["unlike_training"] for row in table("predictions.csv")] == [""] * 6 + ["nearly blank"] * 12 + [""]


def test_failures_are_listed_and_counted_and_other_images_are_scored(model, tmp_path):  # noqa: F811
    for index in range(12):
        (tmp_path / f"bad{index:02d}.png").write_bytes(b"no image")
    (tmp_path / "good.png").write_bytes(png(np.zeros((9, 9), np.uint8)))
    output = invoke(model, tmp_path, code=1).output
    assert output.count("not scored: ") == 10
    assert "and 2 more: see the column error of predictions.csv" in output
    assert "1 of 13 images scored" in output
    rows = table("predictions.csv")
    assert [bool(row["error"]) for row in rows] == [True] * 12 + [False]
    assert rows[0]["class"] == rows[0]["few"] == ""


def test_wrong_usage_is_one_line(model, tmp_path):  # noqa: F811
    (tmp_path / "good.png").write_bytes(png(np.zeros((9, 9), np.uint8)))
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        ((model, "nowhere"), "nowhere does not exist"),
        ((model, "empty"), "empty has no images (JPEG"),
        (("nothing", "good.png"), "MODEL must be models:/NAME@champion, "),
        (("empty", "good.png"), "a model must hold ensemble.json"),
        ((model, "good.png", "--out", "no/where.csv"), "--out must be writable, but no/where.csv is not: No such file"),
        (("models:/x@champion", "good.png"), "MLflow's database must exist, but "),
        (
            ("models:/x@champion", "good.png", "--tracking-uri", "http://127.0.0.1:9"),
            "MLflow must answer at --tracking-uri",
        ),
        ((model, "good.png", "--address", "127.0.0.1:9"), "a Ray cluster must answer at 127.0.0.1:9"),
        ((model, "good.png", "--address", "ray://head:10001"), "--address must be host:port of a cluster's head"),
    ):
        done = invoke(*arguments, code=2)
        assert done.stdout == "" or done.stdout.startswith("model ")
        (line,) = done.stderr.splitlines()
        assert line.startswith("tune-predict: ")
        assert message in line
    assert sorted(file.name for file in tmp_path.iterdir()) == ["empty", "good.png"]


def test_a_row_per_patient_combines_the_images_by_the_models_rule(model, tmp_path):  # noqa: F811
    write_classes(tmp_path / "images", {"a": 4, "b": 1})
    (tmp_path / "images/a/003.png").write_bytes(b"torn")
    (tmp_path / "images/b/000.png").write_bytes(b"torn")
    Path("patients.csv").write_text(
        "image,subject\na/000,P2\na/001,P1\na/002,P2\na/003,P2\nb/000,P3\n", encoding="utf-8"
    )
    ensemble = tmp_path / "any_lesion"
    shutil.copytree(model, ensemble)
    manifest = json.loads((ensemble / "ensemble.json").read_text())
    manifest["combination"]["patients"] = {"kind": "any-lesion", "healthy": 1}
    (ensemble / "ensemble.json").write_text(json.dumps(manifest))
    output = invoke(ensemble, "images", "--per", "patient", "--groups", "patients.csv", code=1).output
    rows = table("predictions.csv")
    assert output.splitlines()[-1].startswith("3 of 5 images of 3 patients scored")
    assert [row["patient"] for row in rows] == ["P2", "P1", "P3"]
    assert [row["images"] for row in rows] == ["3", "1", "1"]
    assert [row["first_image"] for row in rows] == ["images/a/000.png", "images/a/001.png", "images/b/000.png"]
    assert rows[0]["error"].startswith("1 of 3 images not scored: images/a/003.png: ")
    assert (rows[1]["error"], rows[2]["class"], rows[2]["few"]) == ("", "", "")
    images = [Path(f"images/a/00{number}.png").read_bytes() for number in (0, 2, 1)]
    expected = open_ensemble(model, torch.device("cpu")).predict(images)[["few", "many", "some"]]
    least_healthy = expected.iloc[expected["many"][:2].argmin()]
    for row, probabilities in zip(rows[:2], (least_healthy, expected.iloc[2]), strict=True):
        np.testing.assert_allclose([float(row[name]) for name in expected.columns], probabilities, atol=1e-6)
        assert row["class"] == probabilities.idxmax()


def write_table(rows, header="image_id,finding,patient_id,site,age,visit date"):
    Path("images/labels.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def test_rows_of_a_table_are_predicted_in_its_order_and_its_columns_go_along(model, tmp_path):  # noqa: F811
    write_classes(tmp_path / "images", {"a": 3, "b": 2})
    rows = ["b/001,few,P2,S2,40,2021-03-04", "a/009,many,P3,S1,41,2021-03-05", "a/000.png,,P1,=S1,42,2021-03-06"]
    write_table([*rows, "b/001,many,P2,S9,43,2021-03-04"])
    output = invoke(model, "images", "--labels", "labels.csv", code=1).output
    found = table("predictions.csv")
    assert [row["file"] for row in found] == ["images/b/001.png", "a/009", "images/a/000.png"]
    assert list(found[0])[-3:] == ["finding", "site", "age"]
    assert [(row["finding"], row["site"], row["age"]) for row in found] == [
        ("few", "S2", "40"),
        ("many", "S1", "41"),
        ("", "'=S1", "42"),
    ]
    assert (found[1]["error"], found[1]["class"]) == ("no image has this name", "")
    images = [Path(found[position]["file"]).read_bytes() for position in (0, 2)]
    expected = open_ensemble(model, torch.device("cpu")).predict(images)[["few", "many", "some"]]
    for row, probabilities in zip((found[0], found[2]), expected.to_numpy(), strict=True):
        np.testing.assert_allclose([float(row[name]) for name in expected.columns], probabilities, atol=1e-6)
    for note in (
        "columns passed on to the output: finding, site, age",
        "patient_id (the patients), visit date (by its name)",
        "images without a row in images/labels.csv, which are not scored: 3",
        "rows of images/labels.csv that repeat an image: 1; the first row of each counts",
    ):
        assert note in " ".join(output.split())
    assert "not read" not in output  # the table is
    assert output.splitlines()[-1].startswith("2 of 3 images scored")


def test_columns_without_a_name_are_refused(model, tmp_path):  # noqa: F811
    write_classes(tmp_path / "images", {"a": 2})
    write_table(["a/000,few,P1,A,4,", "a/001,few,P2,A,4,"])
    printed = invoke(model, "images", "--labels", "labels.csv", "--columns", " ,", code=2).output
    assert "--columns must name columns, such as site,sex, but got ' ,'" in " ".join(printed.split())


def test_an_image_of_two_patients_is_refused(model, tmp_path):  # noqa: F811
    write_classes(tmp_path / "images", {"a": 2})
    write_table(["a/000,few,P1", "a/001,few,P2", "a/000,few,P3"], "image,finding,patient_id")
    printed = invoke(model, "images", "--labels", "labels.csv", code=2).output
    assert "all rows of an image must name one patient, but those of a/000" in " ".join(printed.split())
    assert not Path("predictions.csv").exists()


def test_names_numbers_and_dates_of_patients_with_several_images_are_not_passed_on(model, tmp_path):  # noqa: F811
    write_classes(tmp_path / "images", {"a": 80})
    rows = [
        f"a/{row:03},few,P{row // 2},Anna {row // 2},{7000 + row // 2},12-Mar-{1930 + row // 2},S" for row in range(80)
    ]
    write_table(rows, "image,finding,subject,who,code,since,site")
    output = invoke(model, "images", "--labels", "labels.csv").output
    assert list(table("predictions.csv")[0])[-2:] == ["finding", "site"]
    assert (
        "subject (the patients), who (a different text for most patients), code (a different number for each patient), "
        "since (dates); --columns names others"
    ) in " ".join(output.split())
    assert "Anna" not in Path("predictions.csv").read_text()


def test_a_table_names_the_patients_and_the_columns_to_pass_on(model, tmp_path):  # noqa: F811
    write_classes(tmp_path / "images", {"a": 4})
    write_table([f"a/00{index},few,{patient},S{index},40,x" for index, patient in enumerate(["P1", "P2", "P1", ""])])
    arguments = ("--labels", "labels.csv", "--per", "patient", "--columns", "site,patient_id,age")
    invoke(model, "images", *arguments)
    rows = table("predictions.csv")
    assert [(row["patient"], row["images"]) for row in rows] == [("P1", "2"), ("P2", "1"), ("images/a/003.png", "1")]
    assert [(row["site"], row["patient_id"], row["age"]) for row in rows] == [
        ("S0|S2", "P1", "40"),
        ("S1", "P2", "40"),
        ("S3", "", "40"),
    ]
    by_site = (*arguments, "--group-column", "site")
    invoke(model, "images", *by_site)
    assert [row["patient"] for row in table("predictions.csv")] == ["S0", "S1", "S2", "S3"]


def test_labels_of_a_patient_are_those_of_its_images_once_each(model, tmp_path):  # noqa: F811
    write_classes(tmp_path / "images", {"a": 3})
    write_table(["a/000,left|right,P1", "a/001,left,P1", "a/002,right,P2"], "image,labels,patient_id")
    invoke(model, "images", "--labels", "labels.csv", "--per", "patient")
    assert [row["labels"] for row in table("predictions.csv")] == ["left|right", "right"]


def test_rows_of_parquet_and_columns_with_taken_names(model, tmp_path):  # noqa: F811
    write_parquet(
        tmp_path / "images" / "all.parquet", [png(np.full((32, 32), grey, np.uint8)) for grey in (0, 90, 200)]
    )
    write_table(["all.parquet row 2,x,1,few", "all.parquet row 0,y,2,many"], "image,class,p(few),label")
    invoke(model, "images", "--labels", "labels.csv")
    rows = table("predictions.csv")
    assert [row["file"] for row in rows] == ["images/all.parquet row 0", "images/all.parquet row 2"]
    assert [(row["table: class"], row["p(few)"], row["label"]) for row in rows] == [
        ("y", "2", "many"),
        ("x", "1", "few"),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--labels", "no.csv"), "--labels must be an existing file, but no.csv is not one"),
        (("--columns", "site"), "--image-column and --columns name columns of a table: add --labels FILE"),
        (
            ("--labels", "labels.csv", "--columns", "ward"),
            "--columns must name columns of images/labels.csv (image_id,",
        ),
        (("--labels", "labels.csv", "--image-column", "x"), "--image-column must be a column of images/labels.csv"),
        (("--labels", "labels.csv", "--image-column", "site"), "but none of images/labels.csv does: 'S': no image has"),
        (
            ("--labels", "labels.csv", "--group-column", "x", "--per", "patient"),
            "--group-column must be a column of images/labels.csv",
        ),
    ],
)
def test_a_wrong_table_is_refused_in_one_line(model, tmp_path, options, message):  # noqa: F811
    write_classes(tmp_path / "images", {"a": 2})
    write_table(["a/000,few,P1,S,40,x", "a/001,few,P1,S,40,x"])
    (line,) = invoke(model, "images", *options, code=2).stderr.splitlines()
    assert line.startswith("tune-predict: ") and message in line
    assert not Path("predictions.csv").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("images", "--labels", "images/labels.csv", "--out", "images/labels.csv"),
        ("images", "--labels", "labels.csv", "--out", "images/../images/labels.csv"),
        ("images/a", "--per", "patient", "--groups", "images/labels.csv", "--out", "images/labels.csv"),
        ("images/a/000.png", "--out", "images/a/000.png"),
        ("images", "--out", "images/a/001.png"),
        ("images", "--labels", "predictions.csv"),
    ],
)
def test_an_input_is_not_replaced_by_the_predictions(tmp_path, arguments):
    write_classes(tmp_path / "images", {"a": 2})
    write_table(["a/000,P1", "a/001,P2"], "image,group")
    shutil.copy("images/labels.csv", "predictions.csv")
    before = {file: file.read_bytes() for file in tmp_path.rglob("*.*")}
    (line,) = invoke("no-model", *arguments, code=2).stderr.splitlines()  # said before the model is looked for
    out = arguments[arguments.index("--out") + 1] if "--out" in arguments else "predictions.csv"
    assert line == f"tune-predict: --out must not be one of the inputs, but {out} is: give another name"
    assert {file: file.read_bytes() for file in tmp_path.rglob("*.*")} == before


def test_a_parquet_table_in_the_folder_is_no_file_of_images_and_an_image_given_twice_counts_once(model, tmp_path):  # noqa: F811
    write_classes(tmp_path / "images", {"a": 3})
    rows = {"image": ["a/000", "a/001", "a/002"], "patient_id": ["P1", "P1", "P2"]}
    pq.write_table(pa.table(rows), tmp_path / "images" / "labels.parquet")
    arguments = ("images", "images/a/001.png", tmp_path / "images" / "a", "--per", "patient")
    for named in (("--labels", "labels.parquet"), ("--groups", "images/labels.parquet")):
        output = invoke(model, *arguments, *named).output
        assert [(row["patient"], row["images"]) for row in table("predictions.csv")] == [("P1", "2"), ("P2", "1")]
        assert "images that are given more than once and scored once: 4" in " ".join(output.split())
        assert "not read" not in output  # the table is


def test_patients_need_per_patient_and_a_model_that_has_them(model, trained, tmp_path):  # noqa: F811
    write_classes(tmp_path / "images", {"a": 2})
    (line,) = invoke(model, "images", "--groups", "x.csv", code=2).stderr.splitlines()
    assert line == "tune-predict: --groups, --group-column and --group-pattern name patients: add --per patient"
    of_masks = invoke(trained[2], "images", "--per", "patient", "--group-pattern", ".", code=2)
    assert of_masks.stderr == (
        "tune-predict: --per patient needs a model that predicts for whole images, but MODEL makes masks\n"
    )
    assert not Path("predictions.csv").exists()


def test_an_unknown_registered_model_is_refused_in_one_line(tmp_path):
    from mlflow import MlflowClient

    (tmp_path / "good.png").write_bytes(png(np.zeros((9, 9), np.uint8)))
    MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_experiments()
    (line,) = invoke("models:/x@champion", "good.png", code=2).stderr.splitlines()
    assert line.startswith("tune-predict: MODEL must be in MLflow, but models:/x@champion is not: ")


@pytest.fixture
def two_nodes():
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    cluster.add_node(num_cpus=2)
    yield cluster.address
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.ray
@pytest.mark.slow
def test_a_cluster_gives_the_same_rows_in_the_same_order(model, tmp_path, two_nodes, monkeypatch):  # noqa: F811
    write_classes(tmp_path / "images", {"a": 20, "b": 50})
    (tmp_path / "images" / "a" / "007.png").write_bytes(b"no image")
    (tmp_path / "images" / "a" / "008.png").write_bytes(png(np.full((32, 32), 9, np.uint8)))
    encoded = [file.read_bytes() for file in sorted((tmp_path / "images" / "b").iterdir())]
    write_parquet(tmp_path / "images" / "c.parquet", [*encoded, None, *encoded], row_group_size=30)
    invoke(model, "images", "--out", "here.csv", code=1)
    on_cluster = Mock(wraps=scoring.score_on_cluster)
    monkeypatch.setattr(scoring, "score_on_cluster", on_cluster)
    invoke(model, "images", "--out", "there.csv", "--address", two_nodes, code=1)
    on_cluster.assert_called_once()
    here, there = table("here.csv"), table("there.csv")
    assert len(here) == 171
    assert [(row["file"], row["class"], row["error"], row["unlike_training"]) for row in there] == [
        (row["file"], row["class"], row["error"], row["unlike_training"]) for row in here
    ]
    assert any(row["unlike_training"] for row in here)
    for one, two in zip(here, there, strict=True):
        assert [float(one[name] or -1) for name in ("few", "many", "some")] == pytest.approx(
            [float(two[name] or -1) for name in ("few", "many", "some")], abs=1e-6
        )
