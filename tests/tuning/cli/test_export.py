import numpy as np
import pytest
from typer.testing import CliRunner

from tests.trainables.core.serving.test_score_images import folder as model  # noqa: F401
from trainables.core.serving.ensemble_files import ensemble_digest, open_ensemble
from trainables.core.serving.export.onnx_file import answer
from tuning.cli.export import app


def invoke(*arguments, code=0):
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == code, done.output + done.stderr
    return done


@pytest.mark.slow
def test_the_file_answers_like_the_model_and_its_input_is_described(model, tmp_path):  # noqa: F811
    file = tmp_path / "model.onnx"
    output = invoke(model, "--onnx", file).output
    ensemble = open_ensemble(model)
    assert ensemble_digest(model) in output
    assert f"(N, height, width, {ensemble.pixel_format.channels}) uint8" in output
    images = np.random.default_rng(0).integers(0, 256, (2, 50, 60, ensemble.pixel_format.channels), dtype=np.uint8)
    np.testing.assert_allclose(answer(file, images), ensemble.probabilities(list(images)), atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (("nowhere", "--onnx", "x.onnx"), "MODEL must be models:/NAME@champion"),
        (("nowhere", "--onnx", "no/x.onnx"), "--onnx must be a file in an existing folder, but no is not one"),
        (("nowhere", "--onnx", "."), "--onnx must be a file in an existing folder, but . is a folder"),
    ],
)
def test_wrong_usage_is_one_line(arguments, rule, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stderr = invoke(*arguments, code=2).stderr
    assert rule in stderr
    assert stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
