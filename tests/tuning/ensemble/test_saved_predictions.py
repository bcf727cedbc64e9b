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
def test_what_was_predicted_is_read_again_and_only_for_what_it_was(data, tmp_path, scheme):
    study, place = optuna.create_study(), f"{scheme}{tmp_path}/search"
    saving = saving_predictions(infer, study, data, place, "flips")
    given = saving(MEMBERS, "test")
    saving(MEMBERS, "select")
    found, why = load_predictions(study, data, place, MEMBERS, "test", "flips")
    np.testing.assert_array_equal(found, given)
    assert why == ""
    assert len(list((tmp_path / "search").glob("predictions-test-*.npz"))) == 1
    assert not list((tmp_path / "search").glob(".*"))
    for members, views in ((MEMBERS[:1], "flips"), (MEMBERS, "none")):
        found, why = load_predictions(study, data, place, members, "test", views)
        assert found is None
        assert "of other members or images" in why


def test_a_changed_or_missing_file_is_not_believed(data, tmp_path):
    study = optuna.create_study()
    assert "an older version" in load_predictions(study, data, str(tmp_path), MEMBERS, "test", "none")[1]
    saving_predictions(infer, study, data, str(tmp_path), "none")(MEMBERS, "test")
    (file,) = tmp_path.glob("*.npz")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert "another SHA-256" in load_predictions(study, data, str(tmp_path), MEMBERS, "test", "none")[1]
    file.unlink()
    assert "cannot be read" in load_predictions(study, data, str(tmp_path), MEMBERS, "test", "none")[1]


def test_a_place_that_takes_nothing_does_not_stop_the_search(data, tmp_path):
    study, blocked = optuna.create_study(), tmp_path / "a-file"
    blocked.write_text("")
    given = saving_predictions(infer, study, data, str(blocked / "search"), "none")(MEMBERS, "test")
    assert given.shape == (2, 5, 2)
    found, why = load_predictions(study, data, str(blocked), MEMBERS, "test", "none")
    assert found is None
    assert "could not be written" in why
