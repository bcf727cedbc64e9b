import dataclasses

import pytest

from analysis.registry.model_card import CardMember, ModelCard

LEAK = "1 of 9 test images have a twin in training (the published split is kept)"


@pytest.fixture
def card():
    return ModelCard(
        name="brains",
        search="brains-2",
        alias="champion",
        reason="it has macro_f1 0.5000 on select, where version 3 has 0.4000",
        experiment_id="7",
        rule="greedy selection",
        metric="macro_f1",
        select=0.5,
        test={"macro_f1": 0.25, "accuracy": 0.75, "recall/a": 1.0},
        openings="opened 2 times",
        test_split="the published test split",
        leak=LEAK,
        data="/data/*odd*",
        fingerprint="f" * 64,
        class_names=("a", "<b>|"),
        splits={"fit": [5, 6], "test": [3, 6]},
        notes=(LEAK,),
        members=(CardMember(7, "run7", "resnet18", 0.9, "0.250"), CardMember(3, "run3", "vit_x", 0.8, "")),
    )


def test_the_description_carries_all_that_one_picks_by(card):
    lines = card.description("4").splitlines()
    for line in (
        "| select macro_f1 | 0.5000 |",
        "| test macro_f1 | 0.2500 |",
        "| test accuracy | 0.7500 |",
        f"Test is the published test split, opened 2 times. {LEAK}.",
        f"> **Note:** {LEAK}.",
        "| trial 7 | resnet18 | 0.250 | 0.9000 | [run7](#/experiments/7/runs/run7) |",
        "| trial 3 | vit\\_x | none | 0.8000 | [run3](#/experiments/7/runs/run3) |",
        "| fit | 11 | 5 | 6 |",
        "tune-predict models:/brains/4 IMAGES --out predictions.csv",
    ):
        assert line in lines
    assert f"fingerprint `{'f' * 64}`" in card.description("4")
    assert "recall/a" not in card.description("4")
    assert "It is the champion: it has macro\\_f1 0.5000 on select, where version 3 has 0.4000." in card.description(
        "4"
    )
    assert "opened 2 times.\n" in dataclasses.replace(card, leak="").description("4")


def test_what_tuning_saw_is_told_with_the_score(card):
    assert "greedy selection, chosen on `select` by macro_f1; search `brains-2`." in card.description("4")
    chosen_on = ("oof", "out-of-fold predictions of 5 folds")
    folded = dataclasses.replace(card, chosen_on=chosen_on, tuned="tuning chose among 9 trials")
    text = folded.description("4")
    assert "chosen on out-of-fold predictions of 5 folds by macro_f1" in text
    assert "| oof macro_f1 | 0.5000 |" in text.splitlines()
    assert "`oof` is of out-of-fold predictions of 5 folds; tuning chose among 9 trials." in text.splitlines()
    assert "| trial | backbone | weight | macro_f1 out of fold | run id |" in text.splitlines()
    assert folded.tags()["oof_macro_f1"] == "0.5000"


def test_names_from_outside_are_no_markup(card):
    assert "| split | images | a | &lt;b&gt;\\| |" in card.description("1").splitlines()
    text = dataclasses.replace(card, notes=("<script>\n# x",)).summary("1")
    assert "> **Note:** &lt;script&gt; \\# x." in text.splitlines()


def test_tags_say_the_same_in_short(card):
    tags = card.tags()
    assert tags["members"] == "trial 7 (resnet18, 0.250)"
    assert tags["split"] == "11 fit, 9 test"
    assert tags["test_split"] == f"the published test split; {LEAK}"
    assert tags["notes"] == LEAK
    assert (tags["select_macro_f1"], tags["test_macro_f1"], tags["test_accuracy"]) == ("0.5000", "0.2500", "0.7500")
    assert max(map(len, dataclasses.replace(card, notes=("x" * 9000,)).tags().values())) == 5000
