import pytest
from mlflow import MlflowClient

from analysis.registry import record_openings
from analysis.registry.evaluations import count_evaluations
from analysis.registry.versions import _alias

OURS = {"metric": "macro_f1", "select_score": 0.7, "select_fingerprint": "abc"}


@pytest.mark.parametrize(
    ("champion", "alias", "reason"),
    [
        (None, "champion", "no version was the champion before"),
        (("2", OURS), "champion", "it is the champion already"),
        (
            ("1", OURS | {"select_score": 0.6}),
            "champion",
            "macro_f1 0.7000 on select, where version 1 has 0.6000",
        ),
        (("1", OURS), "challenger", "its macro_f1 on select equals that of version 1, the champion: 0.7000"),
        (("1", OURS | {"select_score": 0.7 + 1e-15}), "challenger", "equals that of version 1, the champion: 0.7000"),
        (("1", OURS | {"select_score": 0.8}), "challenger", "it has only macro_f1 0.7000"),
        (
            ("1", OURS | {"select_score": 0.700003}),
            "challenger",
            "it has only macro_f1 0.700000 on select, where version 1 has 0.700003",
        ),
        (("1", OURS | {"select_score": 0.1, "select_fingerprint": "x"}), "challenger", "chosen on other images"),
        (("1", OURS | {"select_score": 0.1, "metric": "auroc"}), "challenger", "was chosen by auroc"),
        (("1", {}), "challenger", "cannot be compared"),
        (("1", OURS | {"select_score": 0.1, "tune.promoted_by": "ann"}), "challenger", "version 1 was promoted by ann"),
    ],
)
def test_only_a_better_score_on_the_same_images_beats_a_champion(champion, alias, reason):
    actual, why = _alias(champion, "2", OURS)
    assert actual == alias
    assert reason in why


def test_a_lower_loss_is_better():
    ours = OURS | {"metric": "log_loss", "select_score": 0.4}
    assert _alias(("1", ours | {"select_score": 0.5}), "2", ours)[0] == "champion"
    assert _alias(("1", ours | {"select_score": 0.3}), "2", ours)[0] == "challenger"


def test_openings_are_counted_beyond_one_page_of_experiments(tmp_path, monkeypatch):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(uri)
    runs = [client.create_run(client.create_experiment(f"space {name}")).info.run_id for name in range(5)]
    search = MlflowClient.search_experiments
    monkeypatch.setattr(
        MlflowClient, "search_experiments", lambda *given, **options: search(*given, **options, max_results=2)
    )
    for number, run_id in enumerate(runs):
        assert record_openings(uri, run_id, "seen", 1) == number


def test_openings_are_counted_over_all_experiments_and_deleted_runs(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(uri)
    runs = [client.create_run(client.create_experiment(name)).info.run_id for name in "abc"]
    assert record_openings(uri, runs[0], "seen", 1) == 0
    assert record_openings(uri, runs[1], "seen", 3) == 1
    assert record_openings(uri, runs[2], "unseen", 5) == 0
    assert record_openings(uri, runs[0], "seen", 2) == 3
    assert client.get_run(runs[0]).data.metrics["test_openings"] == 5
    client.delete_run(runs[1])
    assert record_openings(uri, runs[0], "seen", 2) == 3


def test_a_search_with_another_parent_run_does_not_count_its_openings_twice(tmp_path):
    """A resumed search makes another parent run if a person deleted the first one."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(uri)
    experiment = client.create_experiment("brains")
    first, again = (client.create_run(experiment, tags={"tune.search": "one"}).info.run_id for _ in range(2))
    other = client.create_run(experiment, tags={"tune.search": "other"}).info.run_id
    assert record_openings(uri, first, "seen", 1) == 0
    client.delete_run(first)
    assert record_openings(uri, again, "seen", 1) == 0
    assert record_openings(uri, other, "seen", 1) == 1
    assert record_openings(uri, again, "seen", 2) == 1


def test_the_same_images_in_another_table_count_as_evaluated(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(uri)
    experiment = client.create_experiment("brains")
    tags = ("tune.evaluated_digest", "tune.evaluated_data", "tune.evaluated_images")
    for values in (("model", "data", "images"), ("model", "corrected", "images"), ("other", "data", "images")):
        client.create_run(experiment, tags=dict(zip(tags, values, strict=True)))
    client.create_run(experiment, tags=dict(zip(tags[:2], ("model", "data"), strict=True)))  # of an earlier version
    asked = (("data", "images"), ("data", "others"), ("new", "images"), ("new", "others"))
    assert [count_evaluations(uri, experiment, "model", *one) for one in asked] == [3, 2, 2, 0]
