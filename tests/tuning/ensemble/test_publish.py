from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

import tuning.ensemble.member_models
import tuning.ensemble.publish
from analysis.ensembles.result import Registration
from tests.tuning.ensemble.made_up import METRIC, Inference, find
from trainables.core.data.fact import Fact
from trainables.core.data.readers.tables.label_columns import LabelTable
from tuning.ensemble.member_features import member_features
from tuning.ensemble.member_models import log_members
from tuning.ensemble.publish import publish, register


@pytest.fixture
def entrants(monkeypatch):
    """Everything that would have been registered."""
    registered = []

    def register_ensemble(uri, run_id, name, entrant):
        registered.append((run_id, name, entrant))
        return Registration("1", "champion", "no version was the champion before")

    monkeypatch.setattr(tuning.ensemble.publish, "read_models", lambda checkpoint: [checkpoint])
    monkeypatch.setattr(tuning.ensemble.publish, "register_ensemble", register_ensemble)
    return registered


def extract(checkpoints, images):
    """One of two features, which are exact in half precision, by the numbers of the image and of the trial."""
    return [np.eye(2, dtype=np.float32)[(images % (2 + int(checkpoint[-1]))).clip(max=1)] for checkpoint in checkpoints]


def test_only_voting_members_are_registered(study, data, entrants):
    result = find(study, data, Inference(data), rule="best-single")
    features = member_features(data, result.chosen.checkpoints, extract)
    register(result.chosen, data, features, ("uri", "run"), "brains", None)
    ((run_id, name, entrant),) = entrants
    best = result.chosen.members[result.chosen.best_member].number
    assert (run_id, name) == ("run", "brains")
    assert entrant.members == [[f"checkpoint-{best}"]]
    assert entrant.combination.weights == (1.0,)
    assert np.array_equal(entrant.training_features.features, extract([f"checkpoint-{best}"], np.arange(80))[0])
    metadata = entrant.metadata
    assert (metadata["trials"], metadata["rule"], metadata["metric"]) == ([best], "best-single", METRIC)
    assert metadata["select_score"] == result.chosen.comparison.score
    assert metadata["select_fingerprint"] != metadata["test_fingerprint"]


def test_a_soup_is_registered_with_the_trials_that_it_was_averaged_from(study, data, entrants):
    result = find(study, data, Inference(data), rule="best-single")
    best = result.chosen.best_member
    members = list(result.chosen.members)
    members[best] = replace(members[best], soup=(0, 3))
    chosen = replace(result.chosen, members=tuple(members))
    register(chosen, data, member_features(data, chosen.checkpoints, extract), ("uri", "run"), "brains", None)
    assert entrants[0][2].metadata["trials"] == [0, 3]


def test_the_model_says_how_its_images_are_labelled(study, data, entrants):
    """So that an evaluation can open the same images again, also after a round trip through YAML."""
    table, notes = (
        LabelTable(("labels.csv",), label="grade"),
        (Fact("columns of the table: label = grade"), "a warning"),
    )
    labelled = replace(data, table=table, healthy=data.class_names[0], notes=notes)
    result = find(study, labelled, Inference(labelled), rule="best-single")
    features = member_features(labelled, result.chosen.checkpoints, extract)
    register(result.chosen, labelled, features, ("uri", "run"), "brains", None)
    metadata = yaml.safe_load(yaml.safe_dump(entrants[0][2].metadata))
    saved = metadata["data_table"]
    assert LabelTable(**{**saved, "files": tuple(saved["files"])}) == labelled.table
    assert metadata["notes"] == list(notes)
    assert metadata["healthy"] == data.class_names[0]


def test_members_know_the_images_of_their_search_as_the_ensemble_does(study, data, entrants, monkeypatch):
    """Otherwise ``tune-evaluate runs:/RUN_ID/model`` would count copies of these images as new ones."""
    logged = []
    monkeypatch.setattr(tuning.ensemble.member_models, "read_models", lambda checkpoint: [checkpoint])
    monkeypatch.setattr(tuning.ensemble.member_models, "log_member", lambda *arguments: logged.append(arguments[-1]))
    result = find(study, data, Inference(data), rule="best-single")
    features = member_features(data, result.chosen.checkpoints, extract)
    tracker = SimpleNamespace(uri="uri", refused=(), flush=lambda: None, child_id=str, noting_refusal=nullcontext)
    log_members(result.chosen, data, tracker, features)
    register(result.chosen, data, features, ("uri", "run"), "brains", None)
    of_ensemble = entrants[0][2].metadata
    assert [entrant.metadata["trial"] for entrant in logged] == [record.number for record in result.chosen.members]
    for entrant in logged:
        shared = {name: value for name, value in entrant.metadata.items() if name != "trial"}
        assert shared == {name: of_ensemble[name] for name in shared}
        assert shared.keys() >= {"data", "data_table", "data_fingerprint", "healthy", "metric"}


def test_a_registered_ensemble_is_not_published_again(study, data, entrants):
    registration = Registration("1", "champion", "no version was the champion before")
    result = replace(find(study, data, Inference(data)), registration=registration)
    assert publish(study, result, data, None, "brains", extract) == registration
    assert entrants == []
