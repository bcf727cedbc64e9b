from contextlib import ExitStack

import numpy as np
import pytest
from rich.console import Console

from tests.trainables.core.serving.ensembles.test_segmentation_ensemble import trained  # noqa: F401
from tests.trainables.core.serving.test_score_images import folder as classifier  # noqa: F401
from trainables.core.data.decode.crop import Regions
from trainables.core.errors import UserError
from trainables.core.serving.ensemble_files import ensemble_digest
from tuning.search.roi import fetch_segmentation, save_segmentation


def regions(folder):
    return Regions(folder, ensemble_digest(folder), np.zeros((0, 4), dtype=np.int32))


def test_a_segmentation_is_saved_once_under_its_digest(trained, tmp_path):  # noqa: F811
    search = tmp_path / "search"
    with ExitStack() as stack:
        folder = fetch_segmentation(str(trained[2]), None, stack, Console(quiet=True))
    saved = save_segmentation(regions(folder), search)
    assert save_segmentation(regions(folder), search).model == saved.model
    assert [place.name for place in search.iterdir()] == [saved.model.name]
    assert ensemble_digest(saved.model) == saved.digest == ensemble_digest(folder)
    assert saved.model.name == f"roi-{saved.digest[:16]}"


def test_other_models_are_refused(classifier):  # noqa: F811
    with ExitStack() as stack:
        with pytest.raises(UserError, match="--roi must be a segmentation"):
            fetch_segmentation(str(classifier), None, stack, Console(quiet=True))
        with pytest.raises(UserError, match="--roi must be models:/NAME@champion"):
            fetch_segmentation("nothing", None, stack, Console(quiet=True))


def test_a_failed_copy_names_both_folders_and_the_reason(tmp_path):
    """``copytree`` raises a ``shutil.Error`` for what it could not read, which has no ``strerror``."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "ensemble.json").write_text("{}")
    found = regions(tmp_path / "model")
    (tmp_path / "model" / "gone.json").symlink_to("nowhere")
    with pytest.raises(
        UserError, match="model could not be copied to .*search: .*No such file or directory: .*gone.json"
    ):
        save_segmentation(found, tmp_path / "search")
    assert list((tmp_path / "search").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="could not be copied to .*file: .*Not a directory"):
        save_segmentation(found, tmp_path / "file")
