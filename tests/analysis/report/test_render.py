import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import optuna
import pytest

from analysis.report.inputs import Inspection
from analysis.report.render import render
from tests.analysis.report.report_inputs import add_trial, made_up_ensemble, made_up_inspection, made_up_search
from tests.images import write_pairs
from tests.page import Page
from trainables.core.data.decode.crop import Regions
from trainables.core.data.prepare import prepare


def page_of(search, ensemble, inspection=None):
    page = render(search, ensemble, inspection or Inspection(), "Made now.")
    assert "could not be drawn" not in page
    return page


def figures(page):
    return json.loads(re.search(r'id="figures">(.*?)</script>', page, re.DOTALL)[1])


def test_a_page_has_every_section_and_makes_no_request(search, ensemble):
    page = page_of(search, ensemble, made_up_inspection(search, ensemble))
    parsed = Page(page)
    assert parsed.asked == []
    anchors = [
        "scores",
        "seen",
        "models",
        "flow",
        "search",
        "leaderboard",
        "curves",
        "parameters",
        "origins",
        "data",
        "load",
        "claim",
    ]
    assert re.findall(r'<section id="(\w+)">', page) == anchors == re.findall(r'<a href="#(\w+)">', page)
    assert re.findall(r'data-figure="(\d+)"', page) == [str(number) for number in range(len(figures(page)))]
    assert len(figures(page)) == 9
    assert f"tune-predict {ensemble.model} IMAGES" in parsed.text
    assert len(page) < 10e6
    assert "This page contains images and file names of the data set." in parsed.text


def test_before_the_ensemble_the_page_shows_nothing_of_test(search):
    page = page_of(search, None)
    assert re.findall(r'<section id="(\w+)">', page) == [
        *("flow", "search", "leaderboard", "curves", "parameters", "origins", "data", "load", "claim")
    ]
    assert "test set is still sealed" in Page(page).text


def test_a_leak_is_stated_next_to_every_test_score(search):
    data = dataclasses.replace(search.data, split="published", test_twins=2)
    leaking = dataclasses.replace(search, data=data)
    ensemble = made_up_ensemble(leaking)
    page = page_of(leaking, ensemble, made_up_inspection(leaking, ensemble))
    for anchor in ("models", "scores", "seen"):
        section = Page(page.split(f'<section id="{anchor}">')[1].split("</section>")[0]).text
        assert data.leak[1:] in section
        assert "The test split (the published test split)" in section


NASTY = ("<script>alert(1)</script>", "b" * 3000, '"><img src=http://x.example/a onerror=alert(1)>')


def test_names_from_outside_are_shown_as_text(search):
    data = dataclasses.replace(search.data, class_names=NASTY)
    names = tuple(f"<img src=http://x.example/{index}>" for index in range(len(data.labels)))
    counts = dict(zip(NASTY, search.data.audit.class_counts.values(), strict=True))
    audit = dataclasses.replace(
        data.audit, class_counts=counts, groups_per_class=counts, broken={names[0]: "torn"}, blank=names[:1]
    )
    data = dataclasses.replace(data, audit=audit, place="<i>data</i>", notes=("<b>note</b>",))
    nasty = dataclasses.replace(search, data=data, file_names=names)
    ensemble = made_up_ensemble(nasty)
    page = page_of(nasty, ensemble, made_up_inspection(nasty, ensemble))
    parsed = Page(page)
    assert parsed.asked == []
    assert parsed.tags.count("script") == 3
    assert not {"i", "b"} & set(parsed.tags)
    assert NASTY[0] in parsed.text
    assert "RuntimeError: <b>broken</b>" in parsed.text
    drawn = json.dumps(figures(page))
    assert "<script>" not in drawn
    assert "<img" not in drawn


@pytest.mark.parametrize("failed", [0, 2])
def test_one_trial_is_enough_for_a_page_that_names_what_is_missing(small_data, failed):
    study = optuna.create_study(study_name="one", direction="maximize")
    for _ in range(failed):
        add_trial(study, 0.0, epochs=0, state="FAIL")
    add_trial(study, 0.6, epochs=1)
    search = made_up_search(small_data, study)
    ensemble = made_up_ensemble(search, test_predictions=None, why_no_predictions="the predictions were not saved")
    text = Page(page_of(search, ensemble, Inspection(missing="a node was lost"))).text
    assert "1 trial ran in full: too few to say which parameters mattered (at least 10)." in text
    assert text.count("The predictions on test are missing: the predictions were not saved.") == 4
    assert "There are no heat maps: the predictions were not saved." in text
    assert "Latency was not measured: a node was lost." in text
    assert "There is no known configuration to compare with." in text


@pytest.fixture
def masked_data(tmp_path):
    root = write_pairs(tmp_path / "discs", 40)
    return prepare(str(root), sizes=[32], seed=0, store=tmp_path / "store")


@pytest.fixture
def cropped_data(small_data):
    boxes = np.tile(np.array([4, 4, 28, 28], dtype=np.int32), (len(small_data.labels), 1))
    return dataclasses.replace(small_data, regions=Regions(Path("model"), "d" * 64, boxes))


@pytest.mark.parametrize("trials", [0, 1])
@pytest.mark.parametrize("data", ["small_data", "folded_data", "labelled_data", "masked_data", "cropped_data"])
def test_a_search_without_reports_has_a_page(request, data, trials):
    empty = optuna.create_study(study_name="empty", direction="maximize")
    for _ in range(trials):
        empty.ask()  # which has no configuration yet
    search = made_up_search(request.getfixturevalue(data), empty)
    text = Page(page_of(search, None)).text
    assert "No trial has reported a finite value." in text
    assert ("Left: the whole image." in text) == (data == "cropped_data")


def test_a_class_without_test_images_is_named(search):
    rows = search.data.splits["test"]
    splits = {**search.data.splits, "test": rows[search.data.labels[rows] != 0]}
    lacking = dataclasses.replace(search, data=dataclasses.replace(search.data, splits=splits))
    ensemble = made_up_ensemble(lacking)
    page = page_of(lacking, ensemble, made_up_inspection(lacking, ensemble))
    assert f"est image of {search.data.class_names[0]}" in Page(page).text
