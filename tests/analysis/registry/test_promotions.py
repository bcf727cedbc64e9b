"""Promotion of versions on a real SQLite store. The versions have pages but no files."""

import dataclasses
from datetime import UTC, datetime

import pytest
from mlflow import MlflowClient

from analysis.ensembles.result import Registration
from analysis.registry import evaluations, history, parse_model, promote, write_card
from analysis.registry.model_card import NOT_SCORED
from analysis.registry.pages import fitted
from analysis.registry.promotions import make_champion
from tests.analysis.registry.cards import made_up_card
from trainables.core.errors import UserError


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory):
    """The URI of a store, which takes seconds to make."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"
    MlflowClient(uri).search_experiments()
    return uri


@pytest.fixture
def store(empty_store, tmp_path):
    """Versions 1 (champion), 2 and 3 (challenger) of ``brains``, with pages."""
    uri, client = empty_store, MlflowClient(empty_store)
    client.create_registered_model("brains")
    for number, alias in (("1", "champion"), ("2", "challenger"), ("3", "challenger")):
        client.create_model_version("brains", f"file://{tmp_path}/{number}")
        client.set_registered_model_alias("brains", alias, number)
        write_card(uri, made_up_card(registration=Registration(number, alias, "of its score")))
    yield uri, client
    client.delete_registered_model("brains")


def champion(client):
    return str(client.get_model_version_by_alias("brains", "champion").version)


def test_a_promotion_moves_the_alias_and_is_kept_with_who_when_and_why(store):
    uri, client = store
    promote(uri, "brains", "2", "ann", "better on <our> scanner")
    assert champion(client) == "2"
    promote(uri, "brains", None, "bob", "approved")
    assert champion(client) == "3"
    assert "challenger" not in client.get_registered_model("brains").aliases
    promote(uri, "brains", "1", "ann", "rolled back")
    found = history(uri, "brains")
    assert [(each.version, each.previous, each.by, each.reason) for each in found] == [
        ("2", "1", "ann", "better on <our> scanner"),
        ("3", "2", "bob", "approved"),
        ("1", "3", "ann", "rolled back"),
    ]
    assert abs((datetime.now(UTC) - datetime.fromisoformat(found[-1].at)).total_seconds()) < 60
    assert client.get_model_version("brains", "2").tags["tune.promoted_by"] == "ann"


def test_a_tag_says_whether_the_page_of_a_version_has_test_scores(store):
    """A person may write the sentence that pages of earlier versions, without the tag, are known by."""
    uri, client = store
    card = made_up_card(registration=Registration("1", "champion", "of its score"))
    unscored = dataclasses.replace(card, evaluation=None)
    client.update_model_version("brains", "1", description=f"{card.description()}\n\nA person: {NOT_SCORED}")
    write_card(uri, unscored)
    assert "A person" in client.get_model_version("brains", "1").description
    client.delete_model_version_tag("brains", "1", "scored_on_test")
    for page, shown in ((card.description(), card), (NOT_SCORED, unscored)):
        client.update_model_version("brains", "1", description=page)
        write_card(uri, unscored)
        assert client.get_model_version("brains", "1").description == shown.description()


def test_the_pages_name_the_new_champion(store):
    uri, client = store
    promote(uri, "brains", "2", "ann", "better on <our> scanner")
    promote(uri, "brains", "3", "bob", "approved")
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    first, second, third = (client.get_model_version("brains", number).description for number in "123")
    assert first.splitlines()[:3] == [
        "## former champion of brains: version 1",
        "",
        f"It was the champion: version 2 was promoted by ann on {today}: better on &lt;our&gt; scanner.",
    ]
    assert second.splitlines()[2] == f"It was the champion: version 3 was promoted by bob on {today}: approved."
    assert third.splitlines()[:3] == [
        "## champion of brains: version 3",
        "",
        f"It is the champion: promoted by bob on {today}: approved.",
    ]
    assert client.get_registered_model("brains").description == third
    assert "### Members" in first and "### Members" in third
    client.update_registered_model("brains", description="Written by hand")
    promote(uri, "brains", "2", "ann", "better on <our> scanner")
    again = client.get_model_version("brains", "2").description.splitlines()
    assert again[2] == f"It is the champion: promoted by ann on {today}: better on &lt;our&gt; scanner."
    assert client.get_registered_model("brains").description == "Written by hand"


def test_a_champion_that_a_search_replaces_says_so_on_its_page(store):
    """Also if its own search writes its page only afterwards."""
    uri, client = store
    make_champion(client, "brains", "2", "1", "tune-run", "it has auroc 0.9000, where version 1 has 0.8000")
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    first, second = (client.get_model_version("brains", number).description for number in "12")
    replaced = f"It was the champion: a search replaced it by version 2 on {today}: it has auroc 0.9000, where"
    assert first.splitlines()[0] == "## former champion of brains: version 1"
    assert first.splitlines()[2].startswith(replaced) and "### Members" in first
    assert second.splitlines()[:3:2] == [
        "## champion of brains: version 2",
        "It is the champion: it has auroc 0.9000, where version 1 has 0.8000.",
    ]
    assert client.get_registered_model("brains").description == second
    write_card(uri, made_up_card(registration=Registration("1", "champion", "no version was the champion before")))
    assert client.get_model_version("brains", "1").description.splitlines()[2].startswith(replaced)
    assert client.get_registered_model("brains").description == second
    make_champion(client, "brains", "1", "2", "tune-run", "of its score")
    write_card(uri, made_up_card(registration=Registration("1", "champion", "of its score")))
    assert client.get_model_version("brains", "1").description.startswith("## champion of brains: version 1")


def test_an_earlier_layout_of_pages_is_changed_too(store):
    uri, client = store
    old = "## champion of brains: version 1\n\nmean, chosen on `select`; search `b`. It is the champion: why.\n\nNotes"
    client.update_model_version("brains", "1", description=old)
    promote(uri, "brains", "2", "ann", "better")
    lines = client.get_model_version("brains", "1").description.splitlines()
    assert lines[0] == "## former champion of brains: version 1"
    assert lines[2].startswith(
        "mean, chosen on `select`; search `b`. It was the champion: version 2 was promoted by ann"
    )
    assert lines[4] == "Notes"


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("brains", "7", r"--version must be a version of brains \(1, 2, 3\), but got 7"),
        ("brains", "1", "--version must not be the champion already, but 1 is: choose one of 1, 2, 3"),
        ("brians", "1", r"MODEL must be a registered model \(brains\), but got brians"),
    ],
)
def test_what_cannot_be_promoted_is_refused(store, name, version, message):
    uri, client = store
    with pytest.raises(UserError, match=message):
        promote(uri, name, version, "ann", "why")
    assert champion(client) == "1" and history(uri, "brains") == []


def test_without_a_challenger_the_version_must_be_named(store):
    uri, client = store
    client.delete_registered_model_alias("brains", "challenger")
    with pytest.raises(UserError, match="brains has no challenger: choose one of 1, 2, 3"):
        promote(uri, "brains", None, "ann", "why")


def test_a_model_is_named_with_or_without_its_version():
    assert parse_model("brains") == parse_model("models:/brains") == ("brains", None)
    assert parse_model("models:/brains/12") == ("brains", "12")
    for wrong in ("runs:/1/model", "models:/brains@champion", "a' OR name = 'b", ""):
        with pytest.raises(UserError, match="MODEL must be the name"):
            parse_model(wrong)


def with_run(client, tmp_path):
    """Register version 4 with a run, whose files hold what does not fit on its page."""
    experiment = client.create_experiment(f"brains-{tmp_path.name}", f"file://{tmp_path}/files")
    run_id = client.create_run(experiment).info.run_id
    client.create_model_version("brains", f"file://{tmp_path}/4", run_id)
    return run_id


def test_a_long_card_is_cut_after_a_line_and_stored_with_the_run(store, tmp_path):
    uri, client = store
    run_id = with_run(client, tmp_path)
    notes = tuple(f"note {number} {'is rather long' * 20}" for number in range(16))
    card = made_up_card(registration=Registration("4", "champion", "of its score"), notes=notes)
    client.set_registered_model_alias("brains", "champion", "4")
    write_card(uri, card)
    page, file = client.get_model_version("brains", "4").description, "model-card-of-version-4.md"
    *kept, blank, last = page.splitlines()
    assert len(page) <= 5000 < len(card.description()) and blank == ""
    assert kept == card.description().splitlines()[: len(kept)]
    assert last == f"Shortened: the full card is `{file}` of run `{run_id}`."
    assert client.get_registered_model("brains").description == page
    assert (tmp_path / "files" / run_id / "artifacts" / file).read_text() == card.description()
    promote(uri, "brains", "2", "ann", "better " * 30)
    former = client.get_model_version("brains", "4").description
    assert len(former) <= 5000 and "It was the champion: version 2 was promoted by ann" in former
    assert former.splitlines()[-1] == last and former.count(last) == 1
    assert (tmp_path / "files" / run_id / "artifacts" / file).read_text() == card.description()


def test_many_evaluations_are_listed_as_far_as_they_fit_the_last_one_first(store, tmp_path):
    uri, client = store
    run_id = with_run(client, tmp_path)
    experiment = client.get_run(run_id).info.experiment_id
    notes = tuple(f"note {number} {'is rather long' * 20}" for number in range(12))
    write_card(uri, made_up_card(registration=Registration("4", "challenger", "of its score"), notes=notes))
    before = client.get_model_version("brains", "4").description
    for number in range(12):
        told = {"digest": "d", "place": f"place {number}"}
        tags = {f"tune.evaluated_{key}": value for key, value in told.items()} | {"tune.evaluation_summary": "x" * 200}
        client.create_run(experiment, start_time=number + 1, tags=tags)
    evaluations._list_on_page(client, experiment, "brains", "4", "d")
    version = client.get_model_version("brains", "4")
    page = version.description
    assert len(before) > 4000 and len(page) <= 5000 and version.tags["external_evaluations"] == "12"
    assert page.index("place 11") < page.index("place 10") and "place 0 |" not in page
    assert page.splitlines()[-1].startswith("Shortened: the full card is")


def test_a_page_is_not_cut_within_code():
    page = "\n".join(["card", "```", *["code"] * 50, "```", "end"])
    assert fitted(page, "rest", len(page)) == page
    assert fitted(page, "rest", 100) == "card\n\nrest"
