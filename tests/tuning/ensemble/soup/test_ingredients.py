import pytest

from analysis.trials import TrialRecord
from trainables.core.errors import UserError
from tuning.ensemble.soup.ingredients import find_ingredients

CONFIG = {
    "backbone": "resnet18",
    "weights": "pretrained",
    "image_size": 64,
    "head": "linear",
    "optimizer": "adamw",
    "lr": 1e-3,
    "batch_size": 16,
    "epochs": 3,
}


def records(*changes):
    """Trials with changes of one configuration, each with a seed of its own, as in a search."""
    configs = [{**CONFIG, "seed": number, **each} for number, each in enumerate(changes)]
    return [TrialRecord(number, "COMPLETE", {}, config, (), None, ()) for number, config in enumerate(configs)]


def test_trials_from_the_same_weights_are_averaged_however_they_were_trained():
    changes = (
        {},
        {"lr": 0.1, "ema_decay": 0.9},
        {"freeze_depth": 2},
        {"head_dropout": 0.5, "l2_sp": 0.1},
        {"task": "multi_label", "loss": "bce"},
    )
    found = find_ingredients(records(*changes[:4]))
    assert [record.number for record in found.trials] == [0, 1, 2, 3]
    assert found.left_out == {}
    found = find_ingredients(records(changes[4], changes[4]))
    assert len(found.trials) == 2


def test_the_family_of_the_best_trial_that_has_two_is_chosen_and_the_others_are_named():
    found = find_ingredients(
        records(
            {"head": "mlp"},  # the best
            {"backbone": "resnet34"},
            {},
            {"normalize": "dataset"},
            {"loss": "ordinal"},
            {"backbone": "scratch_cnn"},
            {"weights": "random"},
            {},
            {"normalize": "dataset"},
        )
    )
    assert [record.number for record in found.trials] == [2, 7]
    assert found.describe_left_out() == (
        "trial 0: its mlp head has hidden layers, which start from random weights that differ between trials; "
        "trials 5, 6: its backbone starts from random weights, which differ between trials; "
        "trial 1: its backbone is resnet34, not resnet18; "
        "trials 3, 8: its normalize is dataset, not imagenet; "
        "trial 4: its loss is ordinal"
    )


def test_grades_are_averaged_with_grades():
    found = find_ingredients(records({"loss": "ordinal"}, {}, {"loss": "ordinal"}))
    assert [record.number for record in found.trials] == [0, 2]
    assert found.describe_left_out() == "trial 1: its loss is not ordinal"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (({}, {"backbone": "resnet34"}), "trials 0, 1: no other trial like it"),
        (({"head": "mlp"}, {"head": "mlp"}), "trials 0, 1: its mlp head has hidden layers"),
        (({},), "trial 0: no other trial like it"),
    ],
)
def test_fewer_than_two_are_refused_with_a_remedy(changes, why):
    with pytest.raises(UserError, match=r"a soup needs two trials .* or leave --soup out$") as refused:
        find_ingredients(records(*changes))
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)
