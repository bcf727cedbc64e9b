import optuna
import pytest

from search_spaces import choices


@pytest.mark.parametrize(
    "params",
    [
        {"loss": "cross_entropy", "label_smoothing": 0.1},
        {"loss": "focal", "focal_gamma": 1.5},
        {"loss": "ordinal"},
    ],
)
def test_a_loss_comes_with_its_own_parameter(params):
    assert choices.loss(optuna.trial.FixedTrial(params), ("cross_entropy", "focal", "ordinal")) == params
