import base64
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from tests.images import png
from tests.nifti import noise, write_nifti
from trainables.core.config import TrainConfig
from trainables.core.data.decode.images import PixelFormat
from trainables.core.data.decode.nifti import Slicing, volume_slices
from trainables.core.errors import CheckpointError, DataError
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.combining.patient_rule import PatientRule
from trainables.core.serving.ensemble import _load_pyfunc, load_ensemble, save_ensemble
from trainables.core.serving.operating_point import IMAGE, PATIENT, disease_point
from trainables.core.serving.predict_classes import predict_probabilities, trained_classifier
from trainables.core.serving.prediction_sets import PredictionSets
from trainables.core.serving.training_features import TrainingFeatures, joined
from trainables.core.training.fit import fit

NAMES = ("few", "many", "some")


@pytest.fixture(scope="module")
def checkpoints(small_data):
    base = {"backbone": "scratch_cnn", "weights": "random", "head": "linear", "optimizer": "adam", "lr": 1e-3}
    trained = {}
    for size in (16, 32):
        config = TrainConfig.from_dict(base | {"image_size": size, "batch_size": 16, "epochs": 1, "device": "cpu"})
        state = next(fit(config, small_data)).state
        trained[size] = Checkpoint(state, config, NAMES, small_data.pixel_format, {})
    return trained


@pytest.fixture(scope="module")
def folder(checkpoints, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "ensemble"
    save_ensemble(folder, [[checkpoints[16]], [checkpoints[32]]], Combination.of(np.array([0.25, 0.75])))
    return folder


def test_the_ensemble_is_the_weighted_mean_of_its_members(folder, checkpoints, small_data):
    encoded = [png(image[:, :, 0]) for image in small_data.images(32)[:10]]
    expected = 0
    for size, weight in ((16, 0.25), (32, 0.75)):
        model = trained_classifier(checkpoints[size], torch.device("cpu"))
        expected += weight * predict_probabilities(model, small_data.images(size), np.arange(10))
    predictions = load_ensemble(folder).predict(pd.DataFrame({"image": encoded}))
    assert list(predictions.columns) == list(NAMES)
    np.testing.assert_allclose(predictions.to_numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(predictions.sum(axis=1), 1, atol=1e-5)


def test_images_unlike_the_training_images_are_named_in_a_column(checkpoints, small_data, tmp_path):
    checkpoint = dataclasses.replace(checkpoints[16], kind=small_data.kind)
    save_ensemble(tmp_path / "e", [[checkpoint]], Combination.of(np.ones(1)))
    usual = np.asarray(small_data.images(32)[small_data.splits["fit"][0], :, :, 0])
    images = [usual, np.full((32, 32), 200, np.uint8), np.full((300, 300), 200, np.uint8), png(255 - usual)]
    frame = load_ensemble(tmp_path / "e").predict(images)
    assert list(frame.columns) == [*NAMES, "unlike_training"]
    unlike = frame["unlike_training"].tolist()
    assert unlike[:3] == ["", "nearly blank", "nearly blank; 300 x 300 pixels instead of 32 to 32 a side"]
    assert unlike[3]
    np.testing.assert_allclose(frame[list(NAMES)].sum(axis=1), 1, atol=1e-5)


def test_images_with_other_features_than_the_training_images_are_named(checkpoints, small_data, tmp_path):
    """The features are the inputs of the heads; of a member with a model per fold, that of the first."""
    members = [[checkpoints[16], checkpoints[16]], [checkpoints[32]]]
    inputs = []
    for size in (16, 32):
        model, seen = trained_classifier(checkpoints[size], torch.device("cpu")), []
        model.head.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
        with torch.inference_mode():
            model(torch.from_numpy(small_data.images(size)[:]))
        inputs.append(seen[0].numpy())
    expected, splits = joined(inputs), small_data.splits
    held_out = splits["select"]
    known = TrainingFeatures.of(
        *([each[rows] for each in inputs] for rows in (splits["fit"], held_out)), small_data.groups[held_out]
    )
    save_ensemble(tmp_path / "e", members, Combination.of(np.ones(2)), "flips", training_features=known)
    ensemble = load_ensemble(tmp_path / "e")
    images = [*small_data.images(32)[:10, :, :, 0], np.full((32, 32), 255, np.uint8)]
    np.testing.assert_allclose(ensemble.features(images)[:10], expected[:10], atol=1e-5)
    frame = ensemble.predict(images)
    assert list(frame.columns) == [*NAMES, "unlike_training", "unlike_score"]
    np.testing.assert_allclose(frame["unlike_score"][:10], known.scores([each[:10] for each in inputs]), rtol=1e-3)
    assert (frame["unlike_score"] > 1).tolist() == [text.startswith("features ") for text in frame["unlike_training"]]
    assert frame["unlike_score"][10] > 1
    by_patient = ensemble.predict(images, {"patients": ["p"] * 5 + ["q"] * 6})
    assert by_patient["unlike_score"].tolist() == [frame["unlike_score"][:5].max(), frame["unlike_score"][10]]


@pytest.mark.parametrize("ordered", [True, False])
def test_an_ensemble_knows_whether_its_classes_are_grades(checkpoints, tmp_path, ordered):
    save_ensemble(tmp_path / "e", [[dataclasses.replace(checkpoints[16], ordered=ordered)]], Combination.of(np.ones(1)))
    assert load_ensemble(tmp_path / "e").ordered == ordered


def test_a_member_of_several_models_is_their_mean(checkpoints, small_data, tmp_path):
    """The mean counts as one member. A member with a single model is stored without a list."""
    last = dataclasses.replace(checkpoints[32], config=dataclasses.replace(checkpoints[32].config, image_size=16))
    folds = [checkpoints[16], last]
    save_ensemble(tmp_path / "e", [folds, [checkpoints[32]]], Combination.of(np.array([0.25, 0.75])))
    members = json.loads((tmp_path / "e" / "ensemble.json").read_text())["members"]
    assert members == [["member-0-fold-1", "member-0-fold-2"], "member-1"]

    def predicted(checkpoint):
        images = small_data.images(checkpoint.config.image_size)
        return predict_probabilities(trained_classifier(checkpoint, torch.device("cpu")), images, np.arange(10))

    expected = 0.25 * (predicted(folds[0]) + predicted(folds[1])) / 2 + 0.75 * predicted(checkpoints[32])
    predictions = load_ensemble(tmp_path / "e").predict([png(image[:, :, 0]) for image in small_data.images(32)[:10]])
    np.testing.assert_allclose(predictions.to_numpy(), expected, atol=1e-6)


def test_views_and_temperatures_are_applied(checkpoints, small_data, tmp_path):
    combination = Combination("geometric mean", (0.25, 0.75), (2.0, 0.5))
    save_ensemble(tmp_path / "e", [[checkpoints[16]], [checkpoints[32]]], combination, "turns")
    expected = 0
    for size, weight, temperature in ((16, 0.25, 2.0), (32, 0.75, 0.5)):
        model = trained_classifier(checkpoints[size], torch.device("cpu"))
        turned = [np.rot90(small_data.images(size), turns, (1, 2)).copy() for turns in range(4)]
        tempered = np.mean([predict_probabilities(model, images, np.arange(10)) for images in turned], axis=0)
        tempered = tempered ** (1 / temperature)
        expected += weight * np.log(tempered / tempered.sum(axis=1, keepdims=True))
    expected = np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True)
    predictions = load_ensemble(tmp_path / "e").predict(small_data.images(32)[:10, :, :, 0])
    np.testing.assert_allclose(predictions.to_numpy(), expected, atol=1e-5)


def test_every_form_of_an_image_gives_the_same_prediction(folder):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    forms = [
        png(pixels),
        bytearray(png(pixels)),
        base64.b64encode(png(pixels)).decode(),
        base64.encodebytes(png(pixels)).decode(),
        pixels,
        pixels[:, :, None],
        np.repeat(pixels[:, :, None], 3, axis=2),
        pixels.tolist(),
    ]
    ensemble = _load_pyfunc(str(folder))
    rows = ensemble.predict(pd.DataFrame({"image": forms})).to_numpy()
    np.testing.assert_allclose(rows, np.repeat(rows[:1], len(forms), axis=0), atol=1e-6)
    np.testing.assert_allclose(ensemble.predict(np.stack([pixels, pixels])).to_numpy(), rows[:2], atol=1e-6)


def test_pixels_without_a_column_name_are_refused(folder):
    colour = np.zeros((2, 20, 20, 3), np.uint8).tolist()
    with pytest.raises(DataError, match="pixels must be in a column with a name"):
        load_ensemble(folder).predict(pd.DataFrame(colour).iloc[:, :1])  # as MLflow's server passes them


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"patient_id": ["p", "p"], "image": [b"", b""]}, "one called patient, but has 2: patient_id, image"),
        ({"patient": ["p"]}, "must have one column of images and, .*, but has 1: patient"),
        ({"patient": ["p"], "first": [b""], "second": [b""]}, "but has 3: patient, first, second"),
        ({"patient": ["p", None, "q"], "image": [b""] * 3}, "1 of 3 have none, the first of them image 1: name them"),
        ({"patient": [7, float("nan")], "image": [b""] * 2}, "1 of 2 have none, the first of them image 1"),
        ({"patient": pd.array([7, None], "Int64"), "image": [b""] * 2}, "1 of 2 have none"),
        ({"patient": ["unknown", "unknown"], "image": [b"", b""]}, "2 of 2 have none, the first of them image 0"),
    ],
)
def test_other_columns_and_images_without_a_patient_are_refused(folder, columns, message):
    """Predictions of images in the place of those of patients, or one patient of all the unknown, would be wrong."""
    with pytest.raises(DataError, match=message):
        load_ensemble(folder).predict(pd.DataFrame(columns))


def test_a_column_names_the_patient_of_each_image(folder, small_data):
    images, patients = list(small_data.images(32)[:5, :, :, 0]), [17, 4, 17, 4, 5]
    ensemble = load_ensemble(folder)
    expected = ensemble.predict(images, {"patients": list(map(str, patients))})
    assert expected["patient"].tolist() == ["17", "4", "5"]
    frame = pd.DataFrame({"patient": patients, "scan": images}, index=[9, 8, 7, 6, 5])
    of_server = {"patient": np.array(patients), "image": np.stack(images)}  # as MLflow's server turns `instances` into
    rows = [
        {"image": np.array(base64.b64encode(png(one)).decode()), "patient": np.array(str(patient))}
        for one, patient in zip(images, patients, strict=True)
    ]  # and `inputs`
    for form in (frame, frame[["scan", "patient"]], of_server, rows):
        pd.testing.assert_frame_equal(ensemble.predict(form), expected)
    with pytest.raises(DataError, match="patients must be a column or a parameter, but are both"):
        ensemble.predict(frame, {"patients": list(map(str, patients))})


def test_one_encoded_image_is_a_single_image(folder):
    encoded = png(np.zeros((8, 8), np.uint8))
    ensemble = load_ensemble(folder)
    expected = ensemble.predict([encoded])
    text = base64.b64encode(encoded).decode()
    for form in (encoded, text, np.array(text), {"image": text}, {"image": encoded}, {"image": np.array(text)}):
        pd.testing.assert_frame_equal(ensemble.predict(form), expected)
    of_patient = ensemble.predict([encoded], {"patients": ["P1"]})
    pd.testing.assert_frame_equal(ensemble.predict({"image": text, "patient": "P1"}), of_patient)
    pd.testing.assert_frame_equal(ensemble.predict(text, {"patients": "P1"}), of_patient)


def test_no_images_give_no_rows(folder):
    assert load_ensemble(folder).predict([]).shape == (0, 3)


@pytest.mark.parametrize(
    "image",
    [
        *(b"no image", "not base64!", None),
        *(np.zeros((4, 4, 2), np.uint8), np.full((4, 4), 300), np.full((4, 4), 0.5)),
        *(np.zeros((0, 4), np.uint8), np.zeros((20, 3), np.uint8), Image.new("P", (8, 8))),
    ],
)
def test_the_position_of_an_unreadable_image_is_reported(folder, image):
    good = np.zeros((8, 8), np.uint8)
    with pytest.raises(DataError, match="image 1: "):
        load_ensemble(folder).predict([good, image])


def test_the_position_of_an_unreadable_image_is_that_in_the_whole_input(folder):
    with pytest.raises(DataError, match="^image 70: not a readable image"):
        load_ensemble(folder).predict(
            [np.zeros((8, 8), np.uint8)] * 70 + [b"no image"] + [np.zeros((8, 8), np.uint8)] * 5
        )


def test_a_member_is_stored_without_the_optimizers_state(folder):
    from safetensors import safe_open

    with safe_open(folder / "member-0" / "state.safetensors", "pt") as file:
        assert all(key.startswith("model.") for key in file.keys())  # noqa: SIM118


def test_members_of_two_tasks_are_refused(checkpoints, tmp_path):
    save_ensemble(tmp_path / "e", [[checkpoints[16]], [checkpoints[32]]], Combination.of(np.ones(2)))
    meta = tmp_path / "e" / "member-1" / "state.json"
    stored = json.loads(meta.read_text())
    stored["config"] = {"task": "segmentation", "architecture": "linknet", "backbone": "resnet18", "weights": "random"}
    stored["config"] |= {"image_size": 32, "optimizer": "adam", "lr": 1e-3, "batch_size": 8, "epochs": 1}
    meta.write_text(json.dumps(stored))
    with pytest.raises(CheckpointError, match="must have the same task, but have classification, segmentation"):
        load_ensemble(tmp_path / "e")


def test_loading_imports_neither_mlflow_nor_ray():
    heavy = "{'mlflow', 'ray', 'optuna', 'datasets'}"
    code = f"import sys, trainables.core.serving.ensemble; print({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_colour_models_take_grey_images(config, small_data, tmp_path):
    state = next(fit(config(epochs=1), small_data)).state
    checkpoint = Checkpoint(state, config(epochs=1), NAMES, PixelFormat(3, 255), {})
    save_ensemble(tmp_path / "e", [[checkpoint]], Combination.of(np.ones(1)))
    assert load_ensemble(tmp_path / "e").predict([np.zeros((9, 9), np.uint8)]).shape == (1, 3)


@pytest.mark.parametrize("kind", ["mean", "any-lesion"])
def test_the_patients_of_images_get_a_row_each(checkpoints, small_data, tmp_path, kind):
    combination = dataclasses.replace(Combination.of(np.ones(1)), patients=PatientRule(kind, 1))
    save_ensemble(tmp_path / "e", [[dataclasses.replace(checkpoints[16], kind=small_data.kind)]], combination)
    ensemble = load_ensemble(tmp_path / "e")
    usual = np.asarray(small_data.images(32)[small_data.splits["fit"], :, :, 0])
    images, patients = [*usual[:3], np.full((32, 32), 200, np.uint8)], ["q", "p", "q", "p"]
    by_image = ensemble.predict(images)[list(NAMES)].to_numpy()
    found = ensemble.predict(images, {"patients": patients})
    assert list(found.columns) == ["patient", *NAMES, "unlike_training", "images"]
    assert found["patient"].tolist() == ["q", "p"]
    assert found["images"].tolist() == [2, 2]
    assert found["unlike_training"].tolist() == ["", "1 of 2 images"]
    pairs = by_image[[[0, 2], [1, 3]]]
    expected = pairs.mean(axis=1) if kind == "mean" else [min(pair, key=lambda one: one[1]) for pair in pairs]
    np.testing.assert_allclose(found[list(NAMES)], expected, atol=1e-6)
    pd.testing.assert_frame_equal(ensemble.predict(images, {"patients": []}), ensemble.predict(images))
    with pytest.raises(DataError, match="patients must name the patient of each of 4 images, but has 3"):
        ensemble.predict(images, {"patients": patients[:3]})


def test_images_and_patients_are_decided_at_the_operating_point_of_each(checkpoints, small_data, tmp_path):
    images = [np.asarray(small_data.images(32)[index, :, :, 0]) for index in small_data.splits["fit"][:6]]
    patients = ["p", "q", "r"] * 2
    save_ensemble(tmp_path / "none", [[checkpoints[16]]], Combination.of(np.ones(1)))
    without = load_ensemble(tmp_path / "none")
    ill = 1 - without.predict(images)["few"].to_numpy()
    ill_patients = 1 - without.predict(images, {"patients": patients})["few"].to_numpy()
    points = (
        disease_point(NAMES, "few", float(np.sort(ill)[3]), "youden", IMAGE),
        disease_point(NAMES, "few", float(np.sort(ill_patients)[1]), "youden", PATIENT),
    )
    combination = dataclasses.replace(Combination.of(np.ones(1)), points=points)
    save_ensemble(tmp_path / "e", [[checkpoints[16]]], combination)
    ensemble = load_ensemble(tmp_path / "e")
    by_image, by_patient = ensemble.predict(images), ensemble.predict(images, {"patients": patients})
    assert by_image["is_positive"].tolist() == (ill >= np.sort(ill)[3]).tolist()  # its own threshold is reached
    assert by_patient["is_positive"].tolist() == (ill_patients >= np.sort(ill_patients)[1]).tolist()
    assert by_image.drop(columns="is_positive").equals(without.predict(images))
    only_images = dataclasses.replace(combination, points=points[:1])
    save_ensemble(tmp_path / "images", [[checkpoints[16]]], only_images)
    assert "is_positive" not in load_ensemble(tmp_path / "images").predict(images, {"patients": patients})


def test_prediction_sets_are_added_on_request(checkpoints, small_data, tmp_path):
    images = [np.asarray(small_data.images(32)[index, :, :, 0]) for index in small_data.splits["fit"][:6]]
    patients = ["p", "q", "r"] * 2
    save_ensemble(tmp_path / "none", [[checkpoints[16]]], Combination.of(np.ones(1)))
    without = load_ensemble(tmp_path / "none")
    probabilities = without.predict(images).to_numpy()
    thresholds = tuple(np.median(probabilities, axis=0).tolist())
    sets = (PredictionSets(0.9, thresholds, True, IMAGE), PredictionSets(0.9, (0.0, 0.0, 1.0), False, PATIENT))
    combination = dataclasses.replace(Combination.of(np.ones(1)), sets=sets)
    save_ensemble(tmp_path / "e", [[checkpoints[16]]], combination)
    ensemble = load_ensemble(tmp_path / "e")
    assert ensemble.combination == combination
    pd.testing.assert_frame_equal(ensemble.predict(images), without.predict(images))
    found = ensemble.predict(images, {"prediction_sets": True})
    inside = probabilities >= np.float32(thresholds)
    expected = ["|".join(np.array(NAMES)[row]) for row in inside]
    assert found["prediction_set"].tolist() == expected
    assert found["abstain"].tolist() == (inside.sum(axis=1) != 1).tolist()
    by_patient = ensemble.predict(images, {"patients": patients, "prediction_sets": True})
    assert by_patient["prediction_set"].tolist() == ["few|many"] * 3 and all(by_patient["abstain"])
    with pytest.raises(DataError, match="prediction_sets needs a model with prediction sets, but this model has none"):
        without.predict(images, {"prediction_sets": True})


def test_a_volume_gets_the_mean_of_its_slices_in_one_row(checkpoints, small_data, tmp_path):
    slicing = Slicing("coronal", 3)
    pixel_format = dataclasses.replace(small_data.pixel_format, slicing=slicing)
    checkpoint = dataclasses.replace(checkpoints[16], pixel_format=pixel_format)
    save_ensemble(tmp_path / "e", [[checkpoint]], Combination.of(np.ones(1)))
    ensemble = load_ensemble(tmp_path / "e")
    assert ensemble.pixel_format == pixel_format
    volumes = [write_nifti(tmp_path / f"{seed}.nii.gz", noise(seed)).read_bytes() for seed in range(2)]
    slices = [ensemble.predict(list(volume_slices(volume, slicing).values())) for volume in volumes]
    single = volume_slices(volumes[0], slicing)[5]
    found = ensemble.predict([volumes[0], single, base64.b64encode(volumes[1]).decode()])
    expected = np.stack([slices[0].mean(), slices[0].loc[0], slices[1].mean()])
    np.testing.assert_allclose(found.to_numpy(), expected, atol=1e-6)
    by_patient = ensemble.predict(volumes, {"patients": ["P1", "P1"]})
    np.testing.assert_allclose(by_patient[list(NAMES)].to_numpy()[0], np.mean(expected[[0, 2]], axis=0), atol=1e-6)
    assert by_patient["images"].tolist() == [6]
    whole = write_nifti(tmp_path / "whole.nii", noise()).read_bytes()
    with pytest.raises(DataError, match="image 1: the NIfTI file must have .* copy it again"):
        ensemble.predict([single, whole[:-50]])
    with pytest.raises(DataError, match="image 1: not a readable image"):
        ensemble.predict([volumes[0], b"no image"])


def with_decisions(checkpoint, folder, count, units, sets=()):
    """Save a model of volumes with ``count`` slices, to which every patient and no image is positive."""
    points = tuple(disease_point(NAMES, "few", {IMAGE: 2.0, PATIENT: 0.0}[unit], "youden", unit) for unit in units)
    combination = dataclasses.replace(
        Combination.of(np.ones(1)),
        points=points,
        sets=tuple(PredictionSets(0.9, (0.0,) * 3, True, unit) for unit in sets),
    )
    pixel_format = dataclasses.replace(checkpoint.pixel_format, slicing=Slicing("coronal", count))
    save_ensemble(folder, [[dataclasses.replace(checkpoint, pixel_format=pixel_format)]], combination)
    return load_ensemble(folder)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("sequence", ["i", "v", "iv", "viv"])
def test_a_volume_is_decided_on_like_a_patient_and_an_image_beside_it_like_an_image(
    checkpoints, tmp_path, count, sequence
):
    inputs = {"i": np.zeros((8, 8), np.uint8), "v": write_nifti(tmp_path / "v.nii", noise()).read_bytes()}
    images = [inputs[kind] for kind in sequence]
    ensemble = with_decisions(checkpoints[16], tmp_path / "both", count, [IMAGE, PATIENT])
    found = ensemble.predict(images)
    assert found["is_positive"].tolist() == [kind == "v" for kind in sequence]
    alone = [ensemble.predict([image])[list(NAMES)].to_numpy()[0] for image in images]
    np.testing.assert_allclose(found[list(NAMES)].to_numpy(), alone, atol=1e-6)


@pytest.mark.parametrize(("count", "decided"), [(1, [False, False]), (3, [False, None])])
def test_a_model_of_images_decides_on_a_volume_of_one_slice_only(checkpoints, tmp_path, count, decided):
    """A search whose patients had one image each makes such a model."""
    images = [np.zeros((8, 8), np.uint8), write_nifti(tmp_path / "v.nii", noise()).read_bytes()]
    ensemble = with_decisions(checkpoints[16], tmp_path / "e", count, [IMAGE], [IMAGE])
    assert ensemble.predict(images)["is_positive"].tolist() == decided
    wanted = {"prediction_sets": True}
    assert ensemble.predict(images[:1], wanted)["prediction_set"].tolist() == ["few|many|some"]
    if count == 1:
        assert ensemble.predict(images, wanted)["prediction_set"].tolist() == ["few|many|some"] * 2
        return
    with pytest.raises(DataError, match="sets of patients, also for volumes, but this model has only those of images"):
        ensemble.predict(images, wanted)


@pytest.mark.parametrize(
    ("model_input", "message"),
    [
        (np.zeros((20, 30, 1), np.uint8), r"but \(20, 30, 1\) is a single one: pass a list of images"),
        ({"image": np.zeros((20, 30, 3), np.uint8)}, r"but \(20, 30, 3\) is a single one: pass a list of images"),
        (Path("scan.png"), "must be images as encoded bytes, base64 text or arrays, but is PosixPath: pass a list"),
        (None, "must be images as encoded bytes, base64 text or arrays, but is NoneType: pass a list of images"),
    ],
)
def test_an_input_that_is_no_list_of_images_is_refused(folder, model_input, message):
    with pytest.raises(DataError, match=message):
        load_ensemble(folder).predict(model_input)


def test_patients_are_named_as_in_tables(folder):
    images, ensemble = [np.full((8, 8), grey, np.uint8) for grey in (0, 90, 200)], load_ensemble(folder)
    spellings = ["7", "7 ", 7.0]
    found = ensemble.predict({"image": images, "patient": spellings})
    assert found["patient"].tolist() == ["7"] and found["images"].tolist() == [3]
    pd.testing.assert_frame_equal(ensemble.predict(images, {"patients": spellings}), found)
    dates = pd.to_datetime(["2020-01-01", None, "2020-01-01"])
    with pytest.raises(DataError, match="1 of 3 have none, the first of them image 1"):
        ensemble.predict(pd.DataFrame({"image": images, "patient": dates}))
