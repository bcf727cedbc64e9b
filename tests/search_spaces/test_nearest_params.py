"""Parameters of one space in another."""

import optuna
import pytest

from search_spaces.nearest_params import fit_params, portfolio_params
from search_spaces.portfolio import portfolio
from search_spaces.space import SearchSpace, load_space, shipped_spaces

DATA = ("alzheimer_mri", "chest_xray", "tb", "tissue")


def suggest(trial):
    trial.suggest_categorical("backbone", ["a", "b"])
    trial.suggest_categorical("batch_size", [16, 32])
    trial.suggest_categorical("nesterov", [False, True])
    trial.suggest_float("lr", 1e-4, 1e-2, log=True)
    trial.suggest_float("dropout", 0.0, 0.5, step=0.1)
    if trial.suggest_int("cycle", 2, 10) > 5:
        trial.suggest_float("decay", 0.1, 0.9)
    return {}


GIVEN = {"backbone": "b", "batch_size": 32, "nesterov": True, "lr": 3e-3, "dropout": 0.3, "cycle": 4}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"backbone": "other"}, {"backbone": "a"}),
        ({"batch_size": 64}, {"batch_size": 32}),
        ({"batch_size": 4}, {"batch_size": 16}),
        ({"nesterov": "yes"}, {"nesterov": False}),
        ({"lr": 0.3}, {"lr": 1e-2}),
        ({"dropout": 0.26}, {"dropout": 0.3}),
        ({"dropout": 0.6}, {"dropout": 0.5}),
        ({"cycle": 12}, {"cycle": 10, "decay": 0.5}),
        ({"cycle": 7, "decay": 0.2}, {"cycle": 7, "decay": 0.2}),
        ({"unknown": 1, "decay": 0.2}, {}),
        ({"lr": None}, {"lr": 1e-3}),
    ],
)
def test_a_value_that_the_space_lacks_becomes_the_nearest(changes, expected):
    assert fit_params(suggest, GIVEN | changes) == pytest.approx(GIVEN | expected)


@pytest.mark.parametrize("space", shipped_spaces(), ids=lambda space: space.name)
def test_any_portfolio_fits_any_space(space):
    """Optuna accepts the fitted parameters unchanged, which it only does for values that the space offers."""
    for params in portfolio():
        fitted = fit_params(lambda trial: space.suggest(trial, space.backbones), params)
        study = optuna.create_study()
        study.enqueue_trial(fitted)
        trial = study.ask()
        space.suggest(trial, space.backbones)
        assert trial.params == fitted


def test_the_hidden_dropout_of_an_mlp_is_that_of_its_head_unless_given():
    space = load_space("chest_xray_space")
    measured = [params for params in portfolio("chest_xray") if params["head"] == "mlp"]
    assert len({params["head_dropout"] for params in measured}) > 1
    for given, expected in (({}, None), ({"hidden_dropout": 0.1}, 0.1)):
        for params in measured:
            fitted = fit_params(lambda trial: space.suggest(trial, space.backbones), params | given)
            assert fitted["hidden_dropout"] == (expected or fitted["head_dropout"])


def test_the_table_s_own_space_reads_a_portfolio_as_it_is():
    space = load_space("alzheimer_space")
    for params in portfolio("alzheimer_mri"):
        backbones = (params["backbone"],)
        assert fit_params(lambda trial, names=backbones: space.suggest(trial, names), params) == pytest.approx(params)


@pytest.mark.parametrize(
    ("backbones", "expected"),
    [
        (("mobile", "other"), ["mobile", "mobile", "other"]),
        (("other", "third"), ["other", "third", "other"]),
        (("other", "scratch_cnn"), ["other", "scratch_cnn", "other", "other"]),
    ],
)
def test_a_portfolio_s_backbones_that_the_space_lacks_are_replaced_in_turn(backbones, expected):
    recorded = ("mobile", "scratch_cnn", "mobile", "squeeze")
    space = SearchSpace(
        name="own",
        title="",
        data="",
        suggest=lambda trial, names: {
            "backbone": trial.suggest_categorical("backbone", list(names)),
            "lr": trial.suggest_float("lr", 0.0, 1.0),
        },
        backbones=backbones,
        portfolio=tuple({"backbone": name, "lr": place / 10} for place, name in enumerate(recorded)),
    )
    fitted = portfolio_params(space, backbones)
    assert [params["backbone"] for params in fitted] == expected
    kept = range(4) if "scratch_cnn" in backbones else (0, 2, 3)
    assert [params["lr"] for params in fitted] == pytest.approx([place / 10 for place in kept])


@pytest.mark.parametrize("without", ["", *DATA])
def test_a_portfolio_has_ten_different_configurations_of_the_table(without):
    from benchmarks.curves.configurations import draw_params

    recorded = draw_params(160)
    chosen = portfolio(without)
    assert len(chosen) == 10
    assert all(params in recorded for params in chosen)
    assert all(params not in chosen[:place] for place, params in enumerate(chosen))


@pytest.mark.parametrize(
    ("name", "without"),
    [("alzheimer_space", "alzheimer_mri"), ("chest_xray_space", "chest_xray"), ("tissue_space", "tissue")],
)
def test_a_space_of_a_recorded_data_set_has_the_portfolio_that_was_chosen_without_it(name, without):
    assert load_space(name).portfolio == portfolio(without)
