"""The sets of images that the benchmark scores, and their scores."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.data.unlike_images import image_sets, images_at, unlike_scores
from tests.tuning.evaluate.conftest import model, second, trained  # noqa: F401
from trainables.core.data.readers.phantoms import make_phantoms
from trainables.core.serving.ensemble_files import ensemble_folder, open_ensemble


@pytest.mark.slow
def test_changed_and_other_images_are_scored_as_the_model_scores_them(trained, model, second):  # noqa: F811
    sets = dict(image_sets(trained.data, {"second": str(second)}))
    names = ["select", *(f"select, {name}" for name in ("JPEG of quality 75", "JPEG of quality 50", "negatives"))]
    assert list(sets) == [*names, "test", "second"]
    assert len({len(sets[name]) for name in names}) == 1 and len(sets["second"]) == 100
    assert sets["test"] == [trained.data.open_source().read(row) for row in trained.data.splits["test"]]
    first, opposite = (np.asarray(Image.open(io.BytesIO(sets[name][0]))).astype(int) for name in (names[0], names[3]))
    assert np.array_equal(first + opposite, np.full_like(first, 255))
    ensemble = open_ensemble(ensemble_folder(model), torch.device("cpu"))
    scores = unlike_scores(ensemble, sets["second"])
    np.testing.assert_allclose(scores, ensemble.predict(sets["second"])["unlike_score"])
    with pytest.raises(ValueError, match="all images must have an unlike_score, but 1 have none"):
        unlike_scores(ensemble, [sets["select"][0], b"no image"])
    phantoms = make_phantoms()
    found = [np.asarray(Image.open(io.BytesIO(image))) for image in images_at("phantoms")[:3]]
    assert np.array_equal(found, phantoms.images[:3])
