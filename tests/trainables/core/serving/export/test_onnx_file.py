"""ONNX files of small ensembles, answered by onnxruntime. One export takes some seconds."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from tests.dicom import write_dicom
from tests.images import png
from trainables.core.config import TrainConfig
from trainables.core.data.decode.images import PixelFormat
from trainables.core.data.decode.nifti import Slicing
from trainables.core.errors import UserError
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.ensemble import load_ensemble, save_ensemble
from trainables.core.serving.export.onnx_file import MOST_DIFFERENCE, answer, export_onnx
from trainables.core.serving.operating_point import IMAGE, OperatingPoint, disease_point
from trainables.core.serving.prediction_sets import PredictionSets
from trainables.core.training.fit import fit

NAMES = ("few", "many", "größer")
DEEP = PixelFormat(channels=1, white=4095, black=-1024)


@pytest.fixture(scope="module")
def checkpoints(small_data):
    base = {"backbone": "scratch_cnn", "weights": "random", "head": "linear", "optimizer": "adam", "lr": 1e-2}
    trained = []
    grades = dataclasses.replace(small_data, ordered=True)
    for size, seed, loss in ((16, 0, "ordinal"), (32, 1, "cross_entropy"), (32, 2, "cross_entropy")):
        config = TrainConfig.from_dict(
            base | {"image_size": size, "batch_size": 16, "epochs": 1, "device": "cpu", "seed": seed, "loss": loss}
        )
        state = next(fit(config, grades)).state
        trained.append(Checkpoint(state, config, NAMES, small_data.pixel_format, {}))
    return trained


@pytest.mark.slow
def test_an_onnx_file_answers_like_the_model(checkpoints, tmp_path):
    """Two members, one of them of two folds, with three views of each image."""
    small, *folds = checkpoints
    point = disease_point(NAMES, "few", 0.4, "youden", IMAGE)
    sets = PredictionSets(0.9, (0.1, 0.2, 0.3), True)
    rule = dataclasses.replace(
        Combination.of(np.array([0.3, 0.7]), "geometric mean"),
        temperatures=(0.4, 2.0),
        points=(point,),
        sets=(sets,),
    )
    save_ensemble(tmp_path / "e", [[small], folds], rule, views="flips")
    ensemble = load_ensemble(tmp_path / "e")
    file = tmp_path / "model.onnx"
    assert export_onnx(ensemble, file, "abc") < MOST_DIFFERENCE
    images = np.random.default_rng(5).integers(0, 256, (3, 90, 70, 1), dtype=np.uint8)
    expected = ensemble.predict([png(image[:, :, 0]) for image in images])
    probabilities = expected[list(NAMES)].to_numpy()
    np.testing.assert_allclose(answer(file, images), probabilities, atol=MOST_DIFFERENCE)
    assert probabilities.std() > 0.01  # the images do not all get the same answer
    properties = {entry.key: entry.value for entry in onnx.load(file).metadata_props}
    assert json.loads(properties["class_names"]) == list(NAMES)
    assert properties["model_sha256"] == "abc"
    assert OperatingPoint(**json.loads(properties["operating_points"])[0]) == point
    assert json.loads(properties["prediction_sets"])[0]["thresholds"] == [0.1, 0.2, 0.3]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["model.onnx"]


@pytest.mark.slow
def test_deep_pixels_are_scaled_and_values_outside_the_range_get_nan(checkpoints, tmp_path):
    deep = dataclasses.replace(checkpoints[0], pixel_format=DEEP)
    save_ensemble(tmp_path / "e", [[deep]], Combination.of(np.ones(1)))
    ensemble, file = load_ensemble(tmp_path / "e"), tmp_path / "model.onnx"
    export_onnx(ensemble, file, "")
    images = np.random.default_rng(5).integers(0, 4096, (2, 40, 50, 1), dtype=np.int32)
    images[1, 0, 0] = 4096
    probabilities = answer(file, images)
    Image.fromarray(images[0, :, :, 0].astype(np.uint16)).save(tmp_path / "deep.png")
    expected = ensemble.predict([(tmp_path / "deep.png").read_bytes()]).to_numpy()
    np.testing.assert_allclose(probabilities[:1], expected, atol=MOST_DIFFERENCE)
    assert np.isnan(probabilities[1]).all()


@pytest.mark.slow
def test_the_documented_lines_show_dicom_files_to_an_onnx_file_as_the_model_sees_them(
    checkpoints, tmp_path, monkeypatch
):
    """The window of the search replaces that of the file."""
    shown = PixelFormat(1, 65535, window=(1500.0, 1000.0), slicing=Slicing("coronal", 5), dicom=True)
    save_ensemble(
        tmp_path / "e", [[dataclasses.replace(checkpoints[0], pixel_format=shown)]], Combination.of(np.ones(1))
    )
    ensemble = load_ensemble(tmp_path / "e")
    export_onnx(ensemble, tmp_path / "model.onnx", "")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    properties = session.get_modelmeta().custom_metadata_map
    assert (properties["dicom"], json.loads(properties["window"])) == ("true", [1500, 1000])
    assert json.loads(properties["slicing"]) == {"axis": "coronal", "count": 5}
    page = Path(__file__).parents[5] / "docs" / "how-to" / "export.md"
    (lines,) = re.findall(r"```python\n([^`]*dicom_image.*?)```", page.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    samples = np.random.default_rng(5).integers(1370, 1530, (50, 40)).astype(np.uint16)
    for photometric in ("MONOCHROME2", "MONOCHROME1"):
        tags = {"WindowCenter": 500, "WindowWidth": 300, "PhotometricInterpretation": photometric}
        file = write_dicom(Path("scan.dcm"), samples, **tags)
        names = {"session": session, "json": json, "np": np}
        exec(lines, names)
        expected = ensemble.predict([file.read_bytes()])[list(NAMES)].to_numpy()
        np.testing.assert_allclose(names["probabilities"], expected, atol=MOST_DIFFERENCE)
        stored = answer(Path("model.onnx"), samples[None, :, :, None].astype(np.int32))
        assert np.abs(stored - expected).max() > 0.1  # the file accepts stored values


@pytest.mark.parametrize(("black", "white"), [(0, 2**32 - 1), (-(2**31), 2**31 - 1)])
def test_a_range_beyond_int32_is_refused(checkpoints, tmp_path, black, white):
    wide = dataclasses.replace(checkpoints[0], pixel_format=PixelFormat(1, white, black))
    save_ensemble(tmp_path / "e", [[wide]], Combination.of(np.ones(1)))
    with pytest.raises(UserError, match=f"must have a range that fits into int32, but this model's is {black} to"):
        export_onnx(load_ensemble(tmp_path / "e"), tmp_path / "model.onnx", "")


@pytest.mark.slow
def test_a_file_with_other_answers_is_refused(checkpoints, tmp_path, monkeypatch):
    save_ensemble(tmp_path / "e", [[checkpoints[0]]], Combination.of(np.ones(1)))
    ensemble = load_ensemble(tmp_path / "e")
    correct = ensemble.probabilities
    monkeypatch.setattr(ensemble, "probabilities", lambda images: correct(images) + 1e-3)
    with pytest.raises(UserError, match="within 0.0001, but they differ by 0.001"):
        export_onnx(ensemble, tmp_path / "model.onnx", "")
    assert not (tmp_path / "model.onnx").exists()
