import pytest

import tuning.ensemble.members
from tests.tuning.ensemble.made_up import METRIC, made_up_study, quiet
from trainables.core.errors import CheckpointError, UserError
from tuning.ensemble.members import EnsembleRequest, choose_members


def numbers(members):
    return [record.number for record in members]


def test_the_best_trials_that_ran_in_full_are_members(study):
    assert numbers(choose_members(study, EnsembleRequest(METRIC), quiet())) == [1, 3, 2, 0]
    assert numbers(choose_members(study, EnsembleRequest(METRIC, k=2), quiet())) == [1, 3]


def test_requested_members_come_best_first(study):
    chosen = choose_members(study, EnsembleRequest(METRIC, members=(0, 4, 1, 0)), quiet())
    assert numbers(chosen) == [4, 1, 0]
    with pytest.raises(UserError, match=r"trials with a checkpoint \(0, 1, 2, 3, 4\), but got 9"):
        choose_members(study, EnsembleRequest(METRIC, members=(0, 9)), quiet())


def test_a_trial_without_all_of_its_folds_is_no_member(elsewhere):
    study = made_up_study(epochs=(2, 2, 1, 2, 1))
    assert numbers(choose_members(study, EnsembleRequest(METRIC, folds=2), quiet())) == [1, 3, 0]
    assert choose_members(study, EnsembleRequest(METRIC, folds=3), quiet()) == []
    with pytest.raises(UserError, match=r"\(0, 1, 3\), but got 2"):
        choose_members(study, EnsembleRequest(METRIC, members=(1, 2), folds=2), quiet())
    with pytest.raises(UserError, match=r"\(none\), but got 1"):
        choose_members(study, EnsembleRequest(METRIC, members=(1,), folds=3), quiet())


def test_a_damaged_checkpoint_is_left_out(study, monkeypatch):
    def read(place):
        if place == "checkpoint-3":
            raise CheckpointError("torn")

    monkeypatch.setattr(tuning.ensemble.members, "read_models", read)
    console = quiet()
    assert numbers(choose_members(study, EnsembleRequest(METRIC, k=2), console)) == [1, 2]
    assert "trial 3 is left out of the ensemble: torn" in console.file.getvalue()
    with pytest.raises(UserError, match="intact checkpoints"):
        choose_members(study, EnsembleRequest(METRIC, members=(3, 0)), console)
