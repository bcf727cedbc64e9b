"""Counts of test set openings, over all searches in an MLflow."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.store.entities import PagedList

# Tags of a parent run: the test set that the search opened, and the number of openings.
_OPENED, _OPENINGS = "tune.test_fingerprint", "tune.test_openings"
SEARCH_TAG = "tune.search"  # of all runs of a search: its ID, which the study keeps
OPENINGS_METRIC = "test_openings"


def record_openings(tracking_uri: str, run_id: str, fingerprint: str, count: int) -> int:
    """Tag a search's parent run with its openings of a test set, and return those of all other searches.

    Deleted runs count as well, because their results were seen. A search whose parent run was deleted has another one.
    Of all its parent runs, the largest number counts, which includes the earlier ones.

    Args:
        tracking_uri: URI of MLflow.
        run_id: Parent run of the search.
        fingerprint: SHA-256 of the test set.
        count: Openings by this search.
    """
    client = MlflowClient(tracking_uri)
    client.set_tag(run_id, _OPENED, fingerprint)
    client.set_tag(run_id, _OPENINGS, str(count))
    by_search: dict[str, int] = {}
    for experiments in _pages(partial(client.search_experiments, ViewType.ALL)):
        ids, condition = [each.experiment_id for each in experiments], f"tags.`{_OPENED}` = '{fingerprint}'"
        for runs in _pages(partial(client.search_runs, ids, condition, ViewType.ALL)):
            for run in runs:
                search, opened = _search_of(run), int(run.data.tags.get(_OPENINGS, 1))
                by_search[search] = max(by_search.get(search, 0), opened)
    own = _search_of(client.get_run(run_id))
    elsewhere = sum(opened for search, opened in by_search.items() if search != own)
    client.log_metric(run_id, OPENINGS_METRIC, count + elsewhere)
    return elsewhere


def _search_of(run: Run) -> str:
    """Return the ID of a parent run's search, or of the run itself if it has none."""
    search: str = run.data.tags.get(SEARCH_TAG, run.info.run_id)
    return search


def _pages(search: Callable[..., PagedList[Any]]) -> Iterator[PagedList[Any]]:
    """Yield all pages of a search: MLflow returns at most 1,000 entries at a time."""
    page = search()
    yield page
    while page.token:
        page = search(page_token=page.token)
        yield page
