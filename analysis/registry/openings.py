"""Counts of test set openings, over all searches in an MLflow."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.store.entities import PagedList

# Tags of a parent run: the test set that the search opened, and the number of openings.
_OPENED, _OPENINGS = "tune.test_fingerprint", "tune.test_openings"
OPENINGS_METRIC = "test_openings"


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
    elsewhere = 0
    for experiments in _pages(partial(client.search_experiments, ViewType.ALL)):
        ids, condition = [each.experiment_id for each in experiments], f"tags.`{_OPENED}` = '{fingerprint}'"
        for runs in _pages(partial(client.search_runs, ids, condition, ViewType.ALL)):
            elsewhere += sum(int(run.data.tags.get(_OPENINGS, 1)) for run in runs if run.info.run_id != run_id)
    client.log_metric(run_id, OPENINGS_METRIC, count + elsewhere)
    return elsewhere


def _pages(search: Callable[..., PagedList[Any]]) -> Iterator[PagedList[Any]]:
    """Yield all pages of a search: MLflow returns at most 1,000 entries at a time."""
    page = search()
    yield page
    while page.token:
        page = search(page_token=page.token)
        yield page
