import numpy as np
import pytest

from trainables.core.errors import UserError
from tuning.evaluate.data.class_names import in_model_classes, model_classes, parse_names

MODEL = ("normal", "pneumonia", "tuberculosis")


def test_classes_are_matched_by_name_whatever_their_order():
    positions = model_classes(("TB", "normal"), MODEL, parse_names(["TB=tuberculosis"]))
    assert positions.tolist() == [2, 0]
    labels, columns = in_model_classes(np.array([0, 1, -1, 0]), positions, 3)
    assert labels.tolist() == [2, 0, -1, 2]
    assert columns.tolist() == [0, 1, 2]


def test_labels_that_the_data_lack_are_not_scored_and_joined_ones_are_either():
    positions = model_classes(("TB", "normal", "tuberculosis"), MODEL, {"TB": "tuberculosis"})
    labels, columns = in_model_classes(np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]]), positions, 3)
    assert columns.tolist() == [0, 2]
    assert labels.tolist() == [[0, 1], [1, 0], [0, 1]]


def test_an_unknown_class_is_refused_with_the_nearest_name_and_the_remedy():
    with pytest.raises(UserError, match="DATA has Tuberculosis_: .*--map 'Tuberculosis_'='tuberculosis'"):
        model_classes(("normal", "Tuberculosis_"), MODEL, {})


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["a"], "must be NEW=OLD"),
        (["=b"], "must be NEW=OLD"),
        (["a=b", "a=c"], "must name each class once"),
        (["flu=normal"], "must name classes of DATA .* got 'flu'"),
        (["normal=cold"], "must give classes of the model .* got 'cold'"),
    ],
)
def test_impossible_mappings_are_refused(pairs, message):
    with pytest.raises(UserError, match=message):
        model_classes(("normal",), MODEL, parse_names(pairs))
