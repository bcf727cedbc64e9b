from dataclasses import asdict, replace

import numpy as np
import optuna
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.images import png
from trainables.core.data.splits.groups import Grouping
from trainables.core.data.splits.splits import MOST_FREQUENT, RAREST
from trainables.core.errors import DataError, UserError
from tuning.study.attributes import (
    divided_as_before,
    next_session,
    read_data_request,
    read_ensemble_request,
    read_identity,
    save_data_request,
    save_ensemble_request,
    search_uid,
)
from tuning.study.data_request import DataRequest
from tuning.study.identity import check_identity


@pytest.fixture
def study():
    return optuna.create_study()


def test_a_resumed_search_keeps_its_identity(study):
    check_identity(study, {"metric": "accuracy", "seed": 0})
    check_identity(study, {"metric": "accuracy", "seed": 0})
    with pytest.raises(UserError, match="a resumed search must keep its --seed, but 0 became 1"):
        check_identity(study, {"metric": "accuracy", "seed": 1})


@pytest.mark.parametrize("before", [{"roi": "lungs"}, {"roi": None}, {}], ids=["with", "without", "older, without"])
@pytest.mark.parametrize("roi", ["lungs", "heart", None])
def test_a_missing_key_of_the_identity_counts_as_none(study, before, roi):
    check_identity(study, before | {"seed": 0})
    if roi == before.get("roi"):
        check_identity(study, {"seed": 0, "roi": roi})
    else:
        with pytest.raises(UserError, match=f"must keep its --roi, but {before.get('roi')!r} became {roi!r}"):
            check_identity(study, {"seed": 0, "roi": roi})


def test_session_names_are_unique(study):
    assert [next_session(study) for _ in range(3)] == ["session-001", "session-002", "session-003"]
    assert search_uid(study) == search_uid(study)


@pytest.mark.parametrize("read", [read_identity, read_data_request])
def test_a_search_that_stopped_too_early_has_to_be_resumed(study, read):
    with pytest.raises(UserError, match="stopped before its data was prepared.*continue it with tune-run --resume"):
        read(study)


def test_the_data_can_be_prepared_again_from_the_study(study, small_data):
    request = DataRequest(small_data.place, seed=3, split="random", grouping=Grouping(threshold=0.9))
    check_identity(study, {"seed": 3})
    save_data_request(study, request)
    assert (read_identity(study), read_data_request(study)) == ({"seed": 3}, request)
    first, again = (asked.prepare(sizes=[32], store=small_data.store) for asked in (request, read_data_request(study)))
    assert all(np.array_equal(first.splits[name], again.splits[name]) for name in first.splits)
    other = replace(request, seed=4).prepare(sizes=[32], store=small_data.store)
    assert not np.array_equal(first.splits["test"], other.splits["test"])


def test_attributes_of_an_older_version_can_be_read(study):
    request = asdict(DataRequest("scans", seed=0))
    study.set_user_attr("data", {name: request[name] for name in ("place", "seed", "grouping")})
    older = DataRequest(
        "scans", seed=0, ordered=False, stratify_by=MOST_FREQUENT
    )  # classes and splits stay as they are
    assert read_data_request(study) == older
    assert read_ensemble_request(study) == (5, "none", {})
    study.set_user_attr("ensemble asked for", [3, "flips"])  # as versions without operating points saved it
    assert read_ensemble_request(study) == (3, "flips", {})
    save_ensemble_request(study, 3, "flips", {"coverage": 0.95})
    assert read_ensemble_request(study) == (3, "flips", {"coverage": 0.95})


@pytest.mark.parametrize(("older", "stratify_by"), [(True, MOST_FREQUENT), (False, RAREST)])
def test_a_resumed_search_finds_and_divides_its_groups_as_before(study, small_data, older, stratify_by):
    request = DataRequest(small_data.place, seed=3)
    assert divided_as_before(study, request) == request
    save_data_request(study, request)
    if older:
        saved = asdict(request)
        del saved["stratify_by"], saved["grouping"]["older"]
        study.set_user_attr("data", saved)
    before = replace(request, stratify_by=stratify_by, grouping=Grouping(older=older))
    assert divided_as_before(study, request) == read_data_request(study) == before


def test_a_search_that_ignored_unclear_columns_keeps_its_splits(study, tmp_path):
    """An older version grouped the images by similarity, as if the columns were not there."""
    shades = np.random.default_rng(0).integers(0, 256, (24, 8, 8), np.uint8)
    table = pa.table({"image": pa.array(map(png, shades)), "label": ["a", "b"] * 12})
    for name in ("plain", "unclear"):
        (tmp_path / name).mkdir()
        pq.write_table(table, tmp_path / name / "train.parquet")
        table = table.append_column("patient_id", [np.arange(24) // 4]).append_column("subject", [np.arange(24) // 2])
    plain, unclear = (
        DataRequest(str(tmp_path / name), seed=0, stratify_by=MOST_FREQUENT) for name in ("plain", "unclear")
    )
    prepared = {"sizes": [8], "store": tmp_path / "store"}
    with pytest.raises(DataError, match=r"could be the group \(patient_id, subject\): pass --group-column"):
        unclear.prepare(**prepared)
    saved = asdict(unclear)
    del saved["stratify_by"], saved["grouping"]["older"]
    study.set_user_attr("data", saved)
    data, expected = read_data_request(study).prepare(**prepared), plain.prepare(**prepared)
    assert all(np.array_equal(data.splits[name], expected.splits[name]) for name in expected.splits)
    assert "no column groups the images, as in the older version that began this" in " ".join(data.notes)
