"""Evaluations of a model in a real SQLite store, by the command."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from analysis.ensembles.evaluation import Evaluation, Scores
from analysis.ensembles.serialization import to_json
from analysis.registry import Entrant, register_ensemble
from analysis.registry.evaluations import Origin, internal_evaluation, log_internal_evaluation
from analysis.registry.model_card import HEADING
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.operating_point import OperatingPoint
from tuning.cli.compare import app as compare_app
from tuning.cli.evaluate import app

CHOSEN = {"rule": "mean", "views": "none"}
COMBINATION = Combination.of(np.ones(1))
COMPARED = {"metric": "auroc", "select_score": 0.9, "select_fingerprint": "a"}
METADATA = {**CHOSEN, **COMPARED, "trials": [4], "data": None, "healthy": "normal"}


@pytest.fixture(scope="module")
def registered(trained, tmp_path_factory):
    """A store with the model ``brains``, whose search scored an AUROC of 0.9 on its test set."""
    folder = tmp_path_factory.mktemp("registry")
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.create_experiment("brains", artifact_location=str(folder / "artifacts"))
    parent = client.create_run(experiment).info.run_id
    scores = Scores({"auroc": 0.9}, {"auroc": (0.85, 0.94)})
    internal = to_json(Evaluation(scores, (scores,), 0, None, 50, (), ()))
    client.log_text(parent, json.dumps(internal | {"split": "whole groups of images held out"}), "evaluation.json")
    members = {"members": [{"trial": 4, "weight": 1.0}], "comparison": {"combination": COMBINATION.to_dict()}}
    client.log_text(parent, json.dumps(CHOSEN | members), "ensemble.json")
    entrant = Entrant([[trained.checkpoint]], COMBINATION, "none", METADATA)
    assert register_ensemble(client.tracking_uri, parent, "brains", entrant).version == "1"
    client.update_model_version("brains", "1", description=f"{HEADING}brains")
    return client, experiment


def test_internal_scores_are_those_of_the_same_ensemble(registered):
    """Another rule, members or thresholds make another model, whose scores the run may hold in a file of its own."""
    client, experiment = registered
    (parent,) = client.search_runs([experiment])
    origin = Origin(METADATA, parent.info.run_id, version="1")
    assert internal_evaluation(client.tracking_uri, origin).ensemble.metrics == {"auroc": 0.9}
    same = replace(origin, metadata=METADATA | {"combination": COMBINATION.digest})
    assert internal_evaluation(client.tracking_uri, same).ensemble.metrics == {"auroc": 0.9}
    decided = replace(COMBINATION, points=(OperatingPoint("TB", 1, False, 0.4, "youden"),))
    for changed in (
        {"rule": "stacking"},
        {"trials": [4, 5]},
        {"views": "flips"},
        {"combination": decided.digest},
    ):
        other = replace(origin, metadata=METADATA | changed, version="7")
        assert internal_evaluation(client.tracking_uri, other) is None
    scores = Scores({"auroc": 0.8}, {})
    rebuilt = Evaluation(scores, (scores,), 0, None, 50, (), ())
    log_internal_evaluation(client.tracking_uri, parent.info.run_id, "7", rebuilt)
    assert internal_evaluation(client.tracking_uri, other).ensemble.metrics == {"auroc": 0.8}


def evaluate(client, second, monkeypatch, *options, model="models:/brains@champion"):
    monkeypatch.setenv("COLUMNS", "160")
    arguments = [model, str(second), "--labels", "labels.csv", "--map", "TB=ill", *options]
    done = CliRunner().invoke(app, [*arguments, "--tracking-uri", client.tracking_uri])
    assert done.exit_code == 0, done.output + done.stderr
    return done.output


@pytest.mark.slow
@pytest.mark.timeout(180)  # a real model is registered, and evaluated three times
def test_evaluations_are_runs_that_the_page_of_the_version_lists(registered, second, monkeypatch, tmp_path):
    client, experiment = registered
    first = evaluate(client, second, monkeypatch, "--json", str(tmp_path / "first.json"))
    assert "the first evaluation of this model on these images" in first
    assert "there is no sensitivity or specificity" in first
    result = json.loads((tmp_path / "first.json").read_text())
    (difference,) = result["differences"]
    auroc = result["evaluation"]["ensemble"]["metrics"]["auroc"]
    assert (difference["metric"], difference["internal"], difference["external"]) == ("auroc", 0.9, auroc)
    assert difference["interval"][0] < auroc - 0.9 < difference["interval"][1]

    again = evaluate(client, second, monkeypatch)
    assert "this model was evaluated on these images once before" in again
    runs = client.search_runs([experiment], "tags.`tune.evaluated_model` = 'models:/brains/1'")
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    digests = sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in second.glob("*.png"))
    assert runs[0].data.tags["tune.evaluated_images"] == hashlib.sha256("\n".join(digests).encode()).hexdigest()
    assert all(run.data.metrics["external_auroc"] == pytest.approx(auroc) for run in runs)
    assert {file.path for file in client.list_artifacts(runs[0].info.run_id)} == {"evaluation.json", "report.html"}
    complete = [client.get_run(run.info.run_id) for run in runs]  # a search leaves out the inputs
    models = {model.model_id for run in complete for model in run.inputs.model_inputs}
    version = client.get_model_version("brains", "1")
    assert models == {version.source.rpartition("/")[2]}
    assert version.tags["external_evaluations"] == "2"
    page = version.description
    assert page.startswith(f"{HEADING}brains\n\n### External evaluations\n\n") and page.count("### External") == 1
    assert all(f"#/experiments/{experiment}/runs/{run.info.run_id}" in page for run in runs)
    assert f"auroc {auroc:.3f}" in page
    assert client.get_registered_model("brains").description == page  # version 1 is the champion

    names = [f"runs:/{run.info.run_id}" for run in runs]
    compared = CliRunner().invoke(compare_app, [*names, "--tracking-uri", client.tracking_uri])
    assert compared.exit_code == 0, compared.output + compared.stderr
    assert "A is models:/brains/1." in compared.output and "Both give the same predictions." in compared.output
    (search,) = client.search_runs([experiment], "attributes.run_name != 'evaluation of models:/brains/1'")
    refused = CliRunner().invoke(
        compare_app, [names[0], f"runs:/{search.info.run_id}", "--tracking-uri", client.tracking_uri]
    )
    assert refused.exit_code == 2 and "must be the run of an evaluation, but has none" in refused.stderr

    of_run = f"runs:/{search.info.run_id}/ensemble"  # the same model by its run
    assert "this model was evaluated on these images 2 times before" in evaluate(
        client, second, monkeypatch, model=of_run
    )
    (logged,) = client.search_runs([experiment], f"tags.`tune.evaluated_model` = '{of_run}'")
    assert logged.data.metrics["external_auroc"] == pytest.approx(auroc)
