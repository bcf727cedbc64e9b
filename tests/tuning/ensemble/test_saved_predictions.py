import numpy as np
import optuna
import pytest

from trainables.core.data.dataset import Dataset
from trainables.core.data.decode.images import PixelFormat
from tuning.ensemble.saved_predictions import load_predictions, saving_predictions

MEMBERS = ["search/trial/checkpoint-1", "search/trial/checkpoint-2"]


@pytest.fixture
def data():
    splits = {"select": np.arange(4), "test": np.arange(4, 9)}
    labels, groups = np.arange(9) % 2, np.arange(9)
    return Dataset("made up", "f" * 64, ("a", "b"), labels, groups, splits, PixelFormat(1, 255))


def infer(checkpoints, split):
    generator = np.random.default_rng(len(split))
    return generator.random((len(checkpoints), 5, 2), dtype=np.float32)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_predictions_are_loaded_only_for_the_same_members_and_views(data, tmp_path, scheme):
    study, place = optuna.create_study(), f"{scheme}{tmp_path}/search"
    saving = saving_predictions(infer, study, data, place, "flips")
    predictions = saving(MEMBERS, "test")
    saving(MEMBERS, "select")
    loaded, why = load_predictions(study, data, place, MEMBERS, "test", "flips")
    np.testing.assert_array_equal(loaded, predictions)
    assert why == ""
    assert len(list((tmp_path / "search").glob("predictions-test-*.npz"))) == 1
    assert not list((tmp_path / "search").glob(".*"))
    for members, views in ((MEMBERS[:1], "flips"), (MEMBERS, "none")):
        loaded, why = load_predictions(study, data, place, members, "test", views)
        assert loaded is None
        assert "of other members or images" in why


def test_a_changed_or_missing_file_is_rejected(data, tmp_path):
    study = optuna.create_study()
    assert "an older version" in load_predictions(study, data, str(tmp_path), MEMBERS, "test", "none")[1]
    saving_predictions(infer, study, data, str(tmp_path), "none")(MEMBERS, "test")
    (file,) = tmp_path.glob("*.npz")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert "another SHA-256" in load_predictions(study, data, str(tmp_path), MEMBERS, "test", "none")[1]
    file.unlink()
    assert "cannot be read" in load_predictions(study, data, str(tmp_path), MEMBERS, "test", "none")[1]


def test_a_folder_that_cannot_be_written_does_not_stop_the_search(data, tmp_path):
    study, blocked = optuna.create_study(), tmp_path / "a-file"
    blocked.write_text("")
    predictions = saving_predictions(infer, study, data, str(blocked / "search"), "none")(MEMBERS, "test")
    assert predictions.shape == (2, 5, 2)
    loaded, why = load_predictions(study, data, str(blocked), MEMBERS, "test", "none")
    assert loaded is None
    assert "could not be written" in why
