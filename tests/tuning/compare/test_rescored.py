"""Two models on images that neither search has seen, by the command."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from tests.images import png
from tests.tuning.cli.test_evaluate import TABLE, apart, table  # noqa: F401
from tests.tuning.cli.test_evaluate import invoke as evaluate
from tests.tuning.evaluate.conftest import model, second, trained  # noqa: F401
from trainables.core.config import TrainConfig
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.ensemble import save_ensemble
from trainables.core.serving.ensemble_files import ensemble_folder, open_ensemble
from trainables.core.serving.operating_point import IMAGE, PATIENT, OperatingPoint
from trainables.core.training.fit import fit
from tuning.cli.compare import app


@pytest.fixture(scope="module")
def other(trained, tmp_path_factory):  # noqa: F811
    """Another model of the same search, which trained for three epochs."""
    config = TrainConfig.from_dict({**trained.checkpoint.config.to_dict(), "seed": 1, "epochs": 3})
    *_, last = fit(config, trained.data)
    changed = replace(trained, checkpoint=replace(trained.checkpoint, state=last.state, config=config))
    return changed.save(tmp_path_factory.mktemp("other"))


def compare(*arguments, code=0):
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == code, done.output + done.stderr
    return " ".join((done.output if code == 0 else done.stderr).split())


def aurocs(models, folder):
    """AUROC of each model by image and by patient, by scikit-learn."""
    rows = table(folder / "labels.csv")
    ill = np.array([row["finding"] == "TB" for row in rows])
    found = []
    for one in models:
        images = [(folder / f"{row['image']}.png").read_bytes() for row in rows]
        scores = open_ensemble(ensemble_folder(one), torch.device("cpu")).predict(images)["ill"].to_numpy()
        found.append((roc_auc_score(ill, scores), roc_auc_score(ill[::2], scores.reshape(60, 2).mean(axis=1))))
    return np.array(found)


@pytest.mark.slow
@pytest.mark.timeout(180)  # paired bootstraps of two levels, twice, and two evaluations
def test_two_models_are_compared_on_the_same_images(model, other, second, trained, tmp_path):  # noqa: F811
    """Copies of images of the search do not count, and two stored evaluations give the same comparison."""
    folder = tmp_path / "second"
    shutil.copytree(second, folder)
    shutil.copy(sorted((Path(trained.data.place) / "ill").glob("*.png"))[0], folder / "copy.png")
    with (folder / "labels.csv").open("a") as listing:
        listing.write("copy,TB,q,A,50\n")
    printed = compare(model, other, "--data", folder, *TABLE)
    expected = aurocs([model, other], second)
    for level in range(2):
        first, last = expected[:, level]
        assert f"AUROC │ {first:.4f} │ {last:.4f} │ {last - first:+.3f} [" in printed
    assert "Both were scored on the same 120 images" in printed
    assert "1 copies of images of a search, and images of their groups, were left out" in printed
    assert "By patient: 60 in 60 groups" in printed and "the better auroc" in printed

    files = ["a.json", "b.json"]
    for one, file in zip((model, other), files, strict=True):
        evaluate(one, folder, *TABLE, "--json", file)
    from_files = compare(*files)
    assert from_files[from_files.index("By image") :] == printed[printed.index("By image") :]


def test_what_cannot_be_compared_is_refused_in_one_line(model, other, second, tmp_path):  # noqa: F811
    evaluate(model, second, *TABLE, "--json", "a.json")
    stored = json.loads(Path("a.json").read_text())
    Path("older.json").write_text(json.dumps({**stored, "request": None}))
    Path("changed.json").write_text(json.dumps({**stored, "digest": "0" * 64}))
    Path("images.json").write_text(json.dumps({**stored, "fingerprint": "0" * 64}))
    by_site = {**stored["request"], "grouping": {**stored["request"]["grouping"], "column": "site"}}
    Path("sites.json").write_text(json.dumps({**stored, "request": by_site}))
    Path("text.json").write_text("[1]")
    Path("broken.json").write_text("{")
    for arguments, message in (
        (("a.json", "models:/x/1"), "both must be evaluations, but models:/x/1 is not one"),
        (("a.json", "older.json"), "older.json does not say where its images are: make it again with tune-evaluate"),
        (("a.json", "changed.json"), "B must be the model that was evaluated, but"),
        (("images.json", "a.json"), "A must have been evaluated on"),
        (("a.json", "sites.json"), "A and B must be evaluated with the same patients, but their tables or options"),
        (("a.json", "text.json"), "text.json must be a file that tune-evaluate --json wrote, but is a different file"),
        (
            ("a.json", "broken.json"),
            "broken.json must be a file that tune-evaluate --json wrote, but is not valid JSON",
        ),
        (
            (model, other, "--map", "TB=ill"),
            "--labels, --map and group options describe DATA: add --data DATA",
        ),
        ((model, other, "--data", "nowhere"), "the data set must be a folder"),
    ):
        refusal = compare(*arguments, code=2)
        assert refusal.startswith("tune-compare: ") and message in refusal


def test_an_image_that_a_model_refuses_is_left_out(model, second, trained, tmp_path):  # noqa: F811
    """It has no features either, by which copies are found if the images of the search are gone."""
    folder, features = tmp_path / "second", open_ensemble(ensemble_folder(model)).training_features
    shutil.copytree(second, folder)
    shutil.copy(sorted((Path(trained.data.place) / "ill").glob("*.png"))[0], folder / "copy.png")
    colours = np.random.default_rng(1).integers(0, 255, (32, 32, 3)).astype(np.uint8)
    (folder / "colour.png").write_bytes(png(colours))
    with (folder / "labels.csv").open("a") as listing:
        listing.write("colour,TB,q,A,50\ncopy,TB,r,A,50\n")
    gone = trained.save(tmp_path / "gone", features, data="gone")
    printed = compare(model, gone, "--data", folder, *TABLE)
    assert "A: compared with the 80 images of the search" in printed
    assert "B: the images of the search at gone have changed or are gone, so only" in printed
    assert "Both were scored on the same 120 images" in printed
    assert "Note: 1 image not scored by both models, such as colour.png: it is in colour" in printed
    assert "1 copies of images of a search, and images of their groups, were left out" in printed


def test_patients_with_images_of_several_classes_need_the_same_healthy_class(model, second, trained, tmp_path):  # noqa: F811
    """Ten patients have normal and ill images, which makes them ill only if normal is healthy."""
    folder = tmp_path / "second"
    shutil.copytree(second, folder)
    lines = (folder / "labels.csv").read_text().splitlines()
    for index in range(40):
        lines[index + 1] = lines[index + 1].replace(f",p{index // 2},", f",p{index // 4},")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    unaware = trained.save(tmp_path / "unaware", open_ensemble(ensemble_folder(model)).training_features, healthy=None)
    printed = compare(model, unaware, "--data", folder, *TABLE)
    assert "By image: 120 in 50 groups" in printed and "By patient" not in printed
    assert "A and B have different healthy classes, by which 10 patients have different labels" in printed
    assert "By patient: 60 in 60 groups" in compare(model, unaware, "--data", second, *TABLE)


def test_classes_in_another_order_are_put_in_order(model, second, trained, tmp_path):  # noqa: F811
    """A model whose classes are swapped is the same model, also at its threshold for the same disease."""
    state = trained.checkpoint.state
    tensors = {name: value.flip(0) if value.shape[:1] == (2,) else value for name, value in state.tensors.items()}
    swapped = replace(trained.checkpoint, state=replace(state, tensors=tensors), class_names=("normal", "ill"))
    points = tuple(OperatingPoint("ill", 1, False, 0.45, "youden", unit) for unit in (IMAGE, PATIENT))
    place = tmp_path / "swapped"
    save_ensemble(place / "data" / "ensemble", [[swapped]], Combination("mean", (1.0,), (1.0,), points=points))
    shutil.copy(model / "MLmodel", place / "MLmodel")
    printed = compare(model, place, "--data", second, *TABLE)
    (auroc, _) = aurocs([model], second)[0]
    assert f"AUROC │ {auroc:.4f} │ {auroc:.4f} │ +0.000 [" in printed
    assert "By patient, each model at its own threshold" in printed and "threshold for ill │ 0.450 │ 0.450" in printed
    same = re.findall(r"│ (?:sensitivity|specificity) │ ([\d.]+) │ ([\d.]+) │ \+0.000 \[", printed)
    assert len(same) == 4 and all(one == other for one, other in same)
