"""Counts of test set openings, over all searches in an MLflow."""

from mlflow import MlflowClient
from mlflow.entities import ViewType

# Tags of a parent run: the test set that the search opened, and the number of openings.
_OPENED, _OPENINGS = "tune.test_fingerprint", "tune.test_openings"


def record_openings(tracking_uri: str, run_id: str, fingerprint: str, count: int) -> int:
    """Tag a search's parent run with its openings of a test set, and return those of all other searches.

    Deleted runs count as well, because their results were seen.

    Args:
        tracking_uri: URI of MLflow.
        run_id: Parent run of the search.
        fingerprint: SHA-256 of the test set.
        count: Openings by this search.
    """
    client = MlflowClient(tracking_uri)
    client.set_tag(run_id, _OPENED, fingerprint)
    client.set_tag(run_id, _OPENINGS, str(count))
    experiments = [each.experiment_id for each in client.search_experiments(view_type=ViewType.ALL)]
    elsewhere, token = 0, None
    while True:
        page = client.search_runs(experiments, f"tags.`{_OPENED}` = '{fingerprint}'", ViewType.ALL, page_token=token)
        elsewhere += sum(int(run.data.tags.get(_OPENINGS, 1)) for run in page if run.info.run_id != run_id)
        token = page.token
        if not token:
            break
    client.log_metric(run_id, "test_openings", count + elsewhere)
    return elsewhere
