"""Several ensembles of one search, as ``--resume`` makes them, on a real SQLite store."""

import json
import math
from contextlib import ExitStack

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from analysis.ensembles.decisions import DecisionRules
from analysis.ensembles.serialization import to_json
from analysis.registry import fetched_model
from analysis.statistics.thresholds import PointRule
from tests.tuning.ensemble.made_up import quiet
from tests.tuning.real_search import MODEL, RealSearch
from trainables.core.serving.ensemble_files import ensemble_folder, open_ensemble
from trainables.worker.inference import infer_here
from tuning.ensemble.run_artifacts import run_metrics
from tuning.evaluate.log_run import Log
from tuning.predict.fetch_model import fetch_model
from tuning.study.data_request import DataRequest

OF_ENSEMBLE = ("best_", "select_", "test_")


@pytest.fixture(scope="module", autouse=True)
def no_gpu():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        yield


@pytest.fixture(scope="module")
def twice(small_data, tmp_path_factory):
    """A search with prediction sets, and its extension by a better trial without them."""
    search = RealSearch(tmp_path_factory.mktemp("twice"), DataRequest(small_data.place, seed=0), small_data)
    for value in (0.6, 0.8, 0.7):
        search.add_trial(value)
    first, one, _ = search.publish(k=2, rule="mean", decisions=DecisionRules(coverage=0.5))
    search.add_trial(0.9)
    second, two, tracker = search.publish(k=2, rule="mean", decisions=DecisionRules(coverage=0.99))
    assert ([one.version, two.version], tracker.refused) == (["1", "2"], {})
    assert [[record.number for record in each.chosen.members] for each in (first, second)] == [[1, 2], [3, 1]]
    return search, first, second, tracker.parent_id


def internal(uri, version):
    model = f"models:/{MODEL}/{version}"
    with ExitStack() as stack:
        return Log.open(model, uri, fetch_model("A version", model, uri, stack, quiet())).internal()


def test_each_version_keeps_its_test_scores(twice):
    search, first, second, _ = twice
    for version, result in (("1", first), ("2", second)):
        assert json.dumps(to_json(internal(search.uri, version))) == json.dumps(to_json(result.evaluation))


def test_the_run_has_figures_of_its_last_ensemble_only(twice):
    search, first, second, parent = twice
    before, now = run_metrics(first), run_metrics(second)
    assert "test_set_coverage" in before.keys() - now.keys()
    logged = MlflowClient(search.uri).get_run(parent).data.metrics
    finite = {name for name, value in logged.items() if name.startswith(OF_ENSEMBLE) and math.isfinite(value)}
    assert finite == {*now, "test_openings"} - {"epoch_seconds"}
    assert math.isnan(logged["test_set_coverage"])
    assert logged["test_openings"] == 2


def test_files_of_former_members_say_so(twice):
    search, _, _, parent = twice
    client = MlflowClient(search.uri)
    texts = {
        file.path: mlflow.artifacts.load_text(f"runs:/{parent}/{file.path}")
        for file in client.list_artifacts(parent, "members")
    }
    assert texts.keys() == {f"members/trial-000{number}.txt" for number in (1, 2, 3)}
    former = [path for path, text in texts.items() if text.startswith("This trial was a member of an earlier ensemble")]
    assert former == ["members/trial-0002.txt"]


@pytest.mark.slow
def test_a_member_whose_run_was_deleted_is_left_out(small_data, tmp_path):
    search = RealSearch(tmp_path, DataRequest(small_data.place, seed=0), small_data)
    search.add_trial(0.6)
    search.add_trial(0.8)
    with search.tracker() as tracker:
        pass
    client = MlflowClient(search.uri)
    client.delete_run(tracker.child_id(0))
    _, registration, again = search.publish()
    assert registration.version == "1"
    assert list(again.refused) == [0]
    models = client.search_logged_models([tracker.experiment_id], "name = 'model'")
    assert [model.source_run_id for model in models] == [tracker.child_id(1)]


@pytest.mark.slow
def test_a_member_answers_as_the_report_scores_it(labelled_data, tmp_path):
    """Its thresholds were chosen with the ensemble's views, and another operating point replaces them."""
    data, thresholds = labelled_data, []
    search = RealSearch(tmp_path, DataRequest(data.place, seed=0, table=data.table), data, "multi_label", "macro_f1")
    search.add_trial(0.8)
    source = data.open_source()
    images = [source.read(index) for index in data.splits["test"]]
    for rule in (None, PointRule("sensitivity", 0.9)):
        result, _, tracker = search.publish(views="flips", decisions=DecisionRules(points=rule))
        (model,) = MlflowClient(search.uri).search_logged_models([tracker.experiment_id], "name = 'model'")
        with fetched_model(search.uri, f"runs:/{tracker.child_id(0)}/model") as folder:
            served = open_ensemble(ensemble_folder(folder))
        thresholds.append(served.combination.thresholds)
        assert thresholds[-1] == result.chosen.comparison.combination.member_thresholds[0]
        scored = infer_here(data, result.chosen.checkpoints, "test", views="flips")
        np.testing.assert_allclose(served.probabilities(images), scored[0], atol=1e-5)
        assert str(model.status) == "READY"
    assert thresholds[0] != thresholds[1]
