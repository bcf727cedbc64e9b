import pytest

from trainables.core.metric_names import Objective, is_better, unknown_metric

NAN = float("nan")


@pytest.mark.parametrize(
    ("metric", "value", "than", "better"),
    [
        ("accuracy", 0.6, 0.5, True),
        ("accuracy", 0.5, 0.5, False),
        ("log_loss", 0.5, 0.6, True),
        ("log_loss", 0.6, 0.5, False),
        ("patient_log_loss", 0.5, 0.6, True),
        ("patient_accuracy", 0.6, 0.5, True),
        ("log_loss", 9.0, None, True),
        ("log_loss", 9.0, NAN, True),
        ("log_loss", NAN, 9.0, False),
        ("mean_absolute_error", 0.5, 0.6, True),
        ("quadratic_weighted_kappa", 0.5, 0.6, False),
        ("accuracy", NAN, None, False),
        ("accuracy", NAN, NAN, False),
    ],
)
def test_is_better_follows_the_direction_and_never_prefers_nan(metric, value, than, better):
    assert is_better(metric, value, than) is better


def test_an_objective_has_one_name_or_two():
    assert Objective("accuracy").names == ("accuracy",)
    assert Objective("accuracy", "latency_ms").names == ("accuracy", "latency_ms")
    assert Objective("log_loss").minimized and not Objective("accuracy", "latency_ms").minimized


def test_an_unknown_metric_is_refused_with_each_kind_of_metric_once():
    known = ["accuracy", "recall/normal", "recall/ill", "f1/normal", "f1/ill"]
    assert unknown_metric("nothing", known) == (
        "the metric must be one of accuracy, recall/CLASS, f1/CLASS, patient_NAME, or latency_ms (only as the second "
        "--metric), but got 'nothing'"
    )
    assert "f1/LABEL, or latency_ms" in unknown_metric("nothing", known, "LABEL", by_patient=False)
    assert unknown_metric("recall/norml", known).endswith("but got 'recall/norml' (did you mean recall/normal?)")
