import dataclasses
import json
import re

import numpy as np
import optuna
import pytest

from analysis.report.inputs import Looked
from analysis.report.render import render
from tests.analysis.report.report_inputs import add_trial, made_up_ensemble, made_up_look, made_up_search, made_up_study
from tests.images import write_classes
from tests.page import Page
from trainables.core.data.prepare import prepare


@pytest.fixture(scope="module")
def search(small_data):
    return made_up_search(small_data, made_up_study())


def page_of(search, ensemble, looked=None):
    page = render(search, ensemble, looked or Looked(), "Made now.")
    assert "It could not be drawn" not in page
    return page


def test_a_page_has_every_part_and_asks_for_nothing(search):
    ensemble = made_up_ensemble(search)
    page = page_of(search, ensemble, made_up_look(search, ensemble))
    parsed = Page(page)
    assert parsed.asked == []
    assert parsed.tags.count("h2") == 10
    for told in (
        "The space made_up_space was searched on 120 images of 3 classes for the best balanced_accuracy: 5 trials",
        "3 ran in full, 1 stopped at a rung, 1 failed",
        "trial 1 (scratch_cnn), reached 0.8000 on tune",
        "(whole groups of images held out)",
        "and was opened once",
        "@champion (version 1): there was no champion.",
        "Hyperparameter importance",
        "Parallel coordinates",
        "Slices",
        "Recipes and search",
        "Model comparison",
        "Classification report",
        "Confusion matrix",
        "The classes taken for each other most",
        "ROC",
        "Calibration",
        "t-SNE of the features, by mistake",
        "Grad-CAM on right and wrong images",
        "A map has 3 x 3 places",
        "The worst pairs",
        "tune-predict models:/made_up_space/1 IMAGES",
        "a made-up device",
    ):
        assert told in parsed.text, told
    assert len(figures(page)) == 11
    assert len(page) < 10e6


def figures(page):
    return json.loads(re.search(r'id="figures">(.*?)</script>', page, re.DOTALL)[1])


def test_before_the_ensemble_nothing_of_test_is_told(search):
    parsed = Page(page_of(search, None))
    assert "its test set is sealed" in parsed.text
    assert "Leaderboard" in parsed.text
    assert "ROC" not in parsed.text
    assert "Grad-CAM" not in parsed.text


def test_a_leak_is_told_beside_every_test_score(search):
    data = dataclasses.replace(search.data, split="published", test_twins=2)
    leaking = dataclasses.replace(search, data=data)
    ensemble = made_up_ensemble(leaking)
    text = Page(page_of(leaking, ensemble, made_up_look(leaking, ensemble))).text
    assert text.count("test images have one of their own groups in training: test scores measure memory") == 4
    assert text.count("The test split (the published test split)") == 4


NASTY = ("<script>alert(1)</script>", "b" * 3000, '"><img src=http://x.example/a onerror=alert(1)>')


def test_names_from_outside_are_text_wherever_they_stand(search):
    data = dataclasses.replace(search.data, class_names=NASTY)
    names = tuple(f"<img src=http://x.example/{index}>" for index in range(len(data.labels)))
    counts = dict(zip(NASTY, search.data.audit.class_counts.values(), strict=True))
    audit = dataclasses.replace(
        data.audit, class_counts=counts, groups_per_class=counts, broken={names[0]: "torn"}, blank=names[:1]
    )
    data = dataclasses.replace(data, audit=audit, place="<i>data</i>", notes=("<b>note</b>",))
    nasty = dataclasses.replace(search, data=data, names=names)
    ensemble = made_up_ensemble(nasty)
    page = page_of(nasty, ensemble, made_up_look(nasty, ensemble))
    parsed = Page(page)
    assert parsed.asked == []
    assert parsed.tags.count("script") == 3
    assert not {"i", "b"} & set(parsed.tags)
    assert NASTY[0] in parsed.text
    assert "RuntimeError: <b>broken</b>" in parsed.text
    drawn = json.dumps(figures(page))
    assert "<script>" not in drawn
    assert "<img" not in drawn


@pytest.mark.parametrize("others", [0, 2])
def test_a_single_trial_among_failed_ones_is_enough(small_data, others):
    study = optuna.create_study(study_name="one", direction="maximize")
    for _ in range(others):
        add_trial(study, 0.0, epochs=0, state="FAIL")
    add_trial(study, 0.6, epochs=1)
    search = made_up_search(small_data, study)
    ensemble = made_up_ensemble(search, on_test=None, why_none="predictions on test were not kept")
    text = Page(page_of(search, ensemble, Looked(why_none="a node died"))).text
    assert "It needs two trials that ran in full, and there is one." in text
    assert "It needs the predictions of test: predictions on test were not kept." in text
    assert "There are no heat maps: predictions on test were not kept." in text
    assert "No latency: a node died." in text
    assert "There is no recipe to compare with." in text


def test_a_search_without_any_report_has_a_page(small_data):
    study = optuna.create_study(study_name="none", direction="maximize")
    add_trial(study, float("nan"), epochs=1, state="FAIL")
    assert "No trial has reported a finite value." in Page(page_of(made_up_search(small_data, study), None)).text
    empty = optuna.create_study(study_name="empty", direction="maximize")
    assert "0 trials" in Page(page_of(made_up_search(small_data, empty), None)).text


def test_a_class_that_test_lacks_and_features_that_are_nan(search):
    rows = search.data.splits["test"]
    splits = {**search.data.splits, "test": rows[search.data.labels[rows] != 0]}
    data = dataclasses.replace(search.data, splits=splits)
    lacking = dataclasses.replace(search, data=data)
    ensemble = made_up_ensemble(lacking)
    looked = made_up_look(lacking, ensemble)
    answer = dataclasses.replace(looked.answer, features=looked.answer.features * np.nan)
    looked = dataclasses.replace(looked, answer=answer)
    text = Page(page_of(lacking, ensemble, looked)).text
    assert "No test image of few." in text
    assert "features must be finite, but some are not." in text


def test_pairs_are_shown_with_what_they_are(tmp_path):
    write_classes(tmp_path / "data" / "train", {"few": 12, "many": 20})
    write_classes(tmp_path / "data" / "test", {"few": 6, "many": 6}, seed=1)
    for name in ("000", "001"):
        copied = (tmp_path / "data" / "train" / "few" / f"{name}.png").read_bytes()
        (tmp_path / "data" / "test" / "few" / f"{name}.png").write_bytes(copied)
    data = prepare(str(tmp_path / "data"), sizes=[32], seed=0, split="published", store=tmp_path / "store")
    assert data.test_twins == 2
    text = Page(page_of(made_up_search(data, made_up_study()), None)).text
    assert re.search(r"Published test and train: similarity 1.000, turned by 0°", text)
    assert "2 of 12 test images have one of their own groups in training: test scores measure memory." in text
