from dataclasses import replace

import pytest

import tuning.ensemble.publish
from analysis.ensembles.result import Registration
from tests.tuning.ensemble.made_up import METRIC, Inference, find
from tuning.ensemble.publish import publish, register


@pytest.fixture
def entrants(monkeypatch):
    """Everything that would have been registered."""
    registered = []

    def register_ensemble(uri, run_id, name, entrant):
        registered.append((run_id, name, entrant))
        return Registration("1", "champion", "there was no champion")

    monkeypatch.setattr(tuning.ensemble.publish, "read_models", lambda checkpoint: [checkpoint])
    monkeypatch.setattr(tuning.ensemble.publish, "register_ensemble", register_ensemble)
    return registered


def test_only_voting_members_are_registered(study, data, entrants):
    result = find(study, data, Inference(data), rule="best-single")
    register(result.chosen, data, "uri", "run", "brains")
    ((run_id, name, entrant),) = entrants
    best = result.chosen.members[result.chosen.best_member].number
    assert (run_id, name) == ("run", "brains")
    assert entrant.members == [[f"checkpoint-{best}"]]
    assert entrant.combination.weights == (1.0,)
    metadata = entrant.metadata
    assert (metadata["trials"], metadata["rule"], metadata["metric"]) == ([best], "best-single", METRIC)
    assert metadata["select_score"] == result.chosen.comparison.score
    assert metadata["select_fingerprint"] != metadata["test_fingerprint"]


def test_a_registered_ensemble_is_not_published_again(study, data, entrants):
    registration = Registration("1", "champion", "there was no champion")
    result = replace(find(study, data, Inference(data)), registration=registration)
    assert publish(study, result, data, None, "brains") == registration
    assert entrants == []
