from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.images import png
from trainables.core.config import TrainConfig
from trainables.core.data.readers.unlabelled import find_parts
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.models.checkpoints.train_state import TrainState
from trainables.core.models.networks.build import build_network
from trainables.core.serving.combining.combine_labels import LabelCombination
from trainables.core.serving.combining.patient_rule import PatientRule
from trainables.core.serving.ensemble import load_ensemble, save_ensemble
from trainables.core.serving.ensembles.multi_label_ensemble import MultiLabelEnsemble, labels_column
from trainables.core.serving.operating_point import IMAGE, PATIENT
from trainables.core.serving.prediction_sets import LabelSets
from trainables.core.serving.score_images import score_parts

CPU = torch.device("cpu")
IMAGES = np.random.default_rng(0).integers(0, 255, (6, 32, 32), dtype=np.uint8)


def checkpoint(config, data, seed):
    torch.manual_seed(seed)
    settings = config(task="multi_label")
    tensors = {f"model.{name}": tensor for name, tensor in build_network(settings, 3).state_dict().items()}
    return Checkpoint(TrainState(1, tensors, {}), settings, data.class_names, data.pixel_format, {}, data.kind)


@pytest.fixture
def saved(config, labelled_data, tmp_path):
    """An ensemble of two untrained members whose thresholds are the medians of their mean probabilities."""
    members = [[checkpoint(config, labelled_data, seed)] for seed in (0, 1)]
    plain = LabelCombination(
        "mean", (0.25, 0.75), (1.0, 1.0), label_temperatures=((2.0, 1.0, 1.0), (1.0, 0.5, 1.0)), thresholds=(0.5,) * 3,
        member_thresholds=((0.5,) * 3,) * 2,
    )  # fmt: skip
    save_ensemble(tmp_path / "first", members, plain)
    medians = np.median(load_ensemble(tmp_path / "first", CPU).probabilities(list(IMAGES)), axis=0)
    combination = LabelCombination.from_dict(plain.to_dict() | {"thresholds": medians.tolist()})
    save_ensemble(tmp_path / "second", members, combination)
    return tmp_path / "second", members, combination


def test_probabilities_are_those_of_the_networks_combined(saved):
    folder, members, combination = saved
    ensemble = load_ensemble(folder, CPU)
    assert isinstance(ensemble, MultiLabelEnsemble)
    outputs = []
    for (member,) in members:
        network = build_network(member.config, 3)
        network.load_state_dict(member.state.model_tensors())
        with torch.inference_mode():
            outputs.append(network.eval()(torch.from_numpy(IMAGES[..., None])).sigmoid().numpy())
    np.testing.assert_allclose(ensemble.probabilities(list(IMAGES)), combination.apply(np.stack(outputs)), rtol=1e-5)


def test_the_answer_names_the_labels_that_reach_their_threshold(saved):
    ensemble = load_ensemble(saved[0], CPU)
    frame = ensemble.predict(list(IMAGES))
    names = list(ensemble.class_names)
    assert list(frame.columns) == [*names, "labels", "unlike_training"]
    for row in frame.itertuples(index=False):
        decided = [name for name, value, least in zip(names, row, saved[2].thresholds, strict=False) if value >= least]
        assert row.labels == ("|".join(decided) or "none")
    assert frame["labels"].nunique() > 2


def test_files_get_the_same_answers(saved, tmp_path):
    ensemble = load_ensemble(saved[0], CPU)
    for index, image in enumerate(IMAGES):
        (tmp_path / f"{index}.png").write_bytes(png(image))
    (tmp_path / "broken.png").write_bytes(b"no image")
    *scored, broken = score_parts(ensemble, find_parts([str(tmp_path)]))
    assert [one.answer for one in scored if not one.error] == list(ensemble.predict(list(IMAGES))["labels"])
    assert broken.error and not broken.answer


def test_a_patient_has_the_labels_that_reach_the_thresholds_of_patients(saved):
    """A model without such thresholds assigns the labels of any image."""
    ensemble = load_ensemble(saved[0], CPU)
    patients, names = ["b", "a", "b", "a", "b", "c"], list(ensemble.class_names)
    images = ensemble.predict(list(IMAGES))
    of_patients = ensemble.predict(list(IMAGES), {"patients": patients})
    assert list(of_patients["patient"]) == ["b", "a", "c"] and list(of_patients["images"]) == [3, 2, 1]
    for row in of_patients.itertuples():
        of_images = images[np.array(patients) == row.patient]
        np.testing.assert_allclose([getattr(row, name) for name in names], of_images[names].mean(), rtol=1e-6)
        found = [name for name in names if any(name in text.split("|") for text in of_images["labels"])]
        assert row.labels == ("|".join(found) or "none")
    thresholds = of_patients[names].median().to_numpy(dtype=np.float64)
    ensemble.combination = replace(saved[2], patients=PatientRule("max"), patient_thresholds=tuple(thresholds))
    for row in ensemble.predict(list(IMAGES), {"patients": patients}).itertuples():
        highest = images[np.array(patients) == row.patient][names].max()
        np.testing.assert_allclose([getattr(row, name) for name in names], highest, rtol=1e-6)
        decided = [name for name, least in zip(names, thresholds, strict=True) if highest[name] >= np.float32(least)]
        assert row.labels == ("|".join(decided) or "none")


def test_a_label_called_labels_does_not_hide_the_answer():
    assert [labels_column(names) for names in (("mass", "labels"), ("mass",))] == ["labels (decided)", "labels"]


def test_older_members_need_no_task():
    assert TrainConfig.from_dict(
        {"backbone": "scratch_cnn", "weights": "random", "image_size": 32, "head": "linear", "optimizer": "adamw",
         "lr": 1e-3, "batch_size": 8, "epochs": 1}
    ).task == "classification"  # fmt: skip


def test_prediction_sets_say_which_labels_are_open(saved, tmp_path):
    """Sets of images and of patients, and the columns of tune-predict."""
    members, plain = saved[1], saved[2]
    probabilities = load_ensemble(saved[0], CPU).probabilities(list(IMAGES))
    low, high = np.quantile(probabilities, (0.3, 0.7), axis=0)  # may be absent up to high, present from low
    sets = tuple(
        LabelSets(0.9, (*low[:2].tolist(), 0.0), True, unit, (*(1 - high[:2]).tolist(), 0.0))
        for unit in (IMAGE, PATIENT)
    )
    save_ensemble(tmp_path / "sets", members, replace(plain, sets=sets))
    ensemble = load_ensemble(tmp_path / "sets", CPU)
    names = ensemble.class_names
    found = ensemble.predict(list(IMAGES), {"prediction_sets": True})
    assert list(found.columns) == [*names, "labels", "prediction_set", "undecided", "unlike_training"]
    for row, of_image in zip(probabilities, found.itertuples(), strict=True):
        possible, may_lack = row >= [*low[:2], 0], np.float32(1) - row >= [*(1 - high[:2]), 0]
        assert of_image.prediction_set == "|".join(np.array(names)[possible])
        assert of_image.undecided == "|".join(np.array(names)[possible == may_lack])
    assert found["undecided"].nunique() > 1 and found["undecided"].str.endswith(names[2]).all()
    patients = ["p", "p", "q", "q", "r", "r"]
    by_patient = ensemble.predict(list(IMAGES), {"patients": patients, "prediction_sets": True})
    combined = PatientRule().apply(probabilities, np.array([0, 0, 1, 1, 2, 2]))
    assert by_patient["prediction_set"].tolist() == [
        "|".join(np.array(names)[row.astype(np.float32) >= np.float32([*low[:2], 0])]) for row in combined
    ]
    assert ensemble.decision_columns(PATIENT) == ("prediction_set", "undecided")
    assert load_ensemble(saved[0], CPU).decision_columns(IMAGE) == ()
