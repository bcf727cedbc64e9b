import numpy as np
import pytest
import torch

from tests.images import png
from tests.trainables.core.serving.ensembles.test_segmentation_ensemble import trained  # noqa: F401
from trainables.core.config import TrainConfig
from trainables.core.data.prepare import prepare
from trainables.core.data.readers.unlabelled import NamedImage, find_parts
from trainables.core.errors import DataError
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.ensemble import save_ensemble
from trainables.core.serving.ensemble_files import ensemble_digest, ensemble_folder, open_ensemble, pack, unpack
from trainables.core.serving.score_images import score_images, score_parts
from trainables.core.training.fit import fit

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(small_data, tmp_path_factory):
    base = {"backbone": "scratch_cnn", "weights": "random", "head": "linear", "optimizer": "adam", "lr": 1e-3}
    config = TrainConfig.from_dict(base | {"image_size": 16, "batch_size": 16, "epochs": 1, "device": "cpu"})
    checkpoint = Checkpoint(
        next(fit(config, small_data)).state,
        config,
        ("few", "many", "some"),
        small_data.pixel_format,
        {},
        small_data.kind,
    )
    place = tmp_path_factory.mktemp("model") / "ensemble"
    save_ensemble(place, [[checkpoint]], Combination.of(np.ones(1)))
    return place


def images(count):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 20, 20), dtype=np.uint8)
    return [png(image) for image in pixels]


def test_unreadable_images_do_not_affect_the_others(folder):
    ensemble, good = open_ensemble(folder, CPU), images(3)
    unread = NamedImage("gone.png", error="cannot be read: gone")
    batch = [NamedImage("0", good[0]), NamedImage("bad", b"no image"), unread, *map(NamedImage, "12", good[1:])]
    scored = score_images(ensemble, batch)
    assert [row.name for row in scored] == ["0", "bad", "gone.png", "1", "2"]
    assert [row.error for row in scored] == [
        "", "not a readable image: unknown format", "cannot be read: gone", "", "",
    ]  # fmt: skip
    assert [row.probabilities is None for row in scored] == [False, True, True, False, False]
    probabilities = np.stack([scored[index].probabilities for index in (0, 3, 4)])
    np.testing.assert_allclose(probabilities, ensemble.predict(good).iloc[:, :3].to_numpy(float), atol=1e-6)


def test_an_image_that_only_the_segmentation_of_the_region_refuses_does_not_affect_the_others(trained, tmp_path):  # noqa: F811
    for label in ("a", "b"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for index in range(12):
            colours = np.random.default_rng([ord(label), index]).integers(0, 256, (20, 20, 3), dtype=np.uint8)
            (tmp_path / "data" / label / f"{index}.png").write_bytes(png(colours))
    data = prepare(str(tmp_path / "data"), sizes=[16], seed=0, store=tmp_path / "store")
    base = {"backbone": "scratch_cnn", "weights": "random", "head": "linear", "optimizer": "adam", "lr": 1e-3}
    config = TrainConfig.from_dict(base | {"image_size": 16, "batch_size": 8, "epochs": 1, "device": "cpu"})
    checkpoint = Checkpoint(next(fit(config, data)).state, config, data.class_names, data.pixel_format, {})
    save_ensemble(tmp_path / "e", [[checkpoint]], Combination.of(np.ones(1)), roi=trained[2])
    grey, colour = images(2), (tmp_path / "data" / "a" / "0.png").read_bytes()
    scored = score_images(
        open_ensemble(tmp_path / "e", CPU), [*map(NamedImage, "01", [grey[0], colour]), NamedImage("2", grey[1])]
    )
    assert [row.probabilities is None for row in scored] == [False, True, False]
    assert scored[0].error == scored[2].error == "" and "colour" in scored[1].error


def test_a_batch_of_unreadable_images(folder):
    assert [row.probabilities for row in score_images(open_ensemble(folder, CPU), [NamedImage("a", b"no")])] == [None]


def test_parts_are_scored_in_order_across_batches(folder, tmp_path):
    encoded = images(70)
    for index, data in enumerate(encoded):
        (tmp_path / f"{index:03d}.png").write_bytes(data)
    ensemble = open_ensemble(folder, CPU)
    scored = list(score_parts(ensemble, find_parts([str(tmp_path)])))
    assert [row.name for row in scored] == [str(tmp_path / f"{index:03d}.png") for index in range(70)]
    probabilities = np.stack([row.probabilities for row in scored])
    np.testing.assert_allclose(probabilities, ensemble.predict(encoded).iloc[:, :3].to_numpy(float), atol=1e-6)


def test_the_digest_depends_on_the_files_but_not_on_their_place(folder, tmp_path):
    within = tmp_path / "downloaded" / "data" / "ensemble"
    unpack(pack(folder), within)
    assert ensemble_folder(tmp_path / "downloaded") == within
    assert ensemble_digest(within) == ensemble_digest(folder)
    with (within / "member-0" / "state.safetensors").open("ab") as opened:
        opened.write(b"x")
    assert ensemble_digest(within) != ensemble_digest(folder)
    with pytest.raises(DataError, match="the model cannot be loaded: .*must have SHA-256"):
        open_ensemble(within)


@pytest.mark.parametrize("manifest", ["no json", "{}", '{"members": []}', '{"members": [{"folder": "none"}]}', "[]"])
def test_an_incomplete_model_is_refused(tmp_path, manifest):
    with pytest.raises(DataError, match=r"a model must hold ensemble\.json"):
        ensemble_folder(tmp_path)
    (tmp_path / "ensemble.json").write_text(manifest)
    with pytest.raises(DataError, match="the model cannot be loaded"):
        open_ensemble(ensemble_folder(tmp_path))
