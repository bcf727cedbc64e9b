from dataclasses import asdict, replace

import numpy as np
import optuna
import pytest

from trainables.core.data.splits.groups import Grouping
from trainables.core.errors import UserError
from tuning.search.data_request import DataRequest
from tuning.study.attributes import check_identity, next_session, note_data, noted, search_uid


@pytest.fixture
def study():
    return optuna.create_study()


def test_a_search_keeps_its_identity(study):
    check_identity(study, {"metric": "accuracy", "seed": 0})
    check_identity(study, {"metric": "accuracy", "seed": 0})
    with pytest.raises(UserError, match="a resumed search must keep its seed, but 0 became 1"):
        check_identity(study, {"metric": "accuracy", "seed": 1})


@pytest.mark.parametrize("before", [{"roi": "lungs"}, {"roi": None}, {}], ids=["with", "without", "older, without"])
@pytest.mark.parametrize("roi", ["lungs", "heart", None])
def test_a_search_keeps_its_regions(study, before, roi):
    check_identity(study, before | {"seed": 0})
    if roi == before.get("roi"):
        check_identity(study, {"seed": 0, "roi": roi})
    else:
        with pytest.raises(UserError, match=f"must keep its roi, but {before.get('roi')!r} became {roi!r}"):
            check_identity(study, {"seed": 0, "roi": roi})


def test_sessions_are_never_named_twice(study):
    assert [next_session(study) for _ in range(3)] == ["session-001", "session-002", "session-003"]
    assert search_uid(study) == search_uid(study)


def test_the_data_is_prepared_again_from_what_was_noted(study, small_data):
    request = DataRequest(small_data.place, seed=3, split="random", grouping=Grouping(threshold=0.9))
    with pytest.raises(UserError, match="has not begun"):
        noted(study)
    check_identity(study, {"seed": 3})
    note_data(study, request)
    assert noted(study) == ({"seed": 3}, request)
    first, again = (asked.prepare(sizes=[32], store=small_data.store) for asked in (request, noted(study)[1]))
    assert all(np.array_equal(first.splits[name], again.splits[name]) for name in first.splits)
    other = replace(request, seed=4).prepare(sizes=[32], store=small_data.store)
    assert not np.array_equal(first.splits["test"], other.splits["test"])


def test_what_an_older_version_noted_is_read(study):
    request = asdict(DataRequest("scans", seed=0))
    check_identity(study, {"seed": 0})
    study.set_user_attr("data", {name: request[name] for name in ("place", "seed", "grouping")})
    assert noted(study)[1] == DataRequest("scans", seed=0)
