"""How often a test set was opened, by any search that MLflow knows."""

from mlflow import MlflowClient
from mlflow.entities import ViewType

# Tags of a parent run: a test set that the search has opened, and how often.
_OPENED, _OPENINGS = "tune.test_fingerprint", "tune.test_openings"


def note_openings(tracking_uri: str, run_id: str, fingerprint: str, count: int) -> int:
    """Notes on a search's parent run how often it has opened a test set; returns how often others have, anywhere.

    Deleted runs count as well: what was seen stays seen.

    Args:
        tracking_uri: Of MLflow.
        run_id: The search's parent run.
        fingerprint: Of the test set.
        count: The search's openings of it.
    """
    client = MlflowClient(tracking_uri)
    client.set_tag(run_id, _OPENED, fingerprint)
    client.set_tag(run_id, _OPENINGS, str(count))
    experiments = [found.experiment_id for found in client.search_experiments(view_type=ViewType.ALL)]
    elsewhere, token = 0, None
    while True:
        page = client.search_runs(experiments, f"tags.`{_OPENED}` = '{fingerprint}'", ViewType.ALL, page_token=token)
        elsewhere += sum(int(run.data.tags.get(_OPENINGS, 1)) for run in page if run.info.run_id != run_id)
        token = page.token
        if not token:
            break
    client.log_metric(run_id, "test_openings", count + elsewhere)
    return elsewhere
