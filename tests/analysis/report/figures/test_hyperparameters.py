import optuna
import pytest

from analysis.report.figures.hyperparameters import importance, most_important, parallel_coordinates, slices
from analysis.report.figures.style import NothingToDrawError
from tests.analysis.report.report_inputs import METRIC, add_trial


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_only_the_varying_parameter_is_drawn_and_the_best_trial_is_bluest(direction):
    study = optuna.create_study(direction=direction, sampler=optuna.samplers.RandomSampler(0))
    for _ in range(12):
        trial = study.ask()
        lr = trial.suggest_float("lr", 0, 1)
        trial.suggest_categorical("constant", ("always",))
        study.tell(trial, lr)
    assert most_important(study) == ["lr"]
    assert list(importance(study).data[0].y) == ["lr"]
    lines = [trace for trace in parallel_coordinates(study, "metric").data if trace.mode == "lines"]
    assert len(lines) == 12
    assert sorted(slices(study, "metric").data[0].x) == sorted(trial.params["lr"] for trial in study.trials)

    def blue(line):
        return int(line.line.color.removesuffix(")").split(", ")[2])

    by_value = sorted(lines, key=lambda line: line.y[0], reverse=direction == "maximize")
    assert [blue(line) for line in by_value] == sorted(map(blue, lines), reverse=True)
    assert blue(by_value[0]) > blue(by_value[-1])


def test_the_parameter_that_decides_is_the_most_important():
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(0))
    for _ in range(60):
        trial = study.ask()
        decisive, noise = trial.suggest_float("decisive", 0, 1), trial.suggest_float("noise", 0, 1)
        study.tell(trial, decisive + 1e-3 * noise)
    assert most_important(study) == ["decisive", "noise"]


@pytest.mark.parametrize(
    ("values", "reason"), [((), "none has"), ((0.5,), "one has"), ((0.5, 0.5), "have the same value")]
)
def test_too_few_or_equal_trials_are_refused_with_the_reason(values, reason):
    study = optuna.create_study(direction="maximize")
    for value in values:
        add_trial(study, value)
    for draw in (lambda: importance(study), lambda: slices(study, METRIC), lambda: parallel_coordinates(study, METRIC)):
        with pytest.raises(NothingToDrawError, match=reason):
            draw()
