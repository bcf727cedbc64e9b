import pytest
from rich.console import Console

from tests.trainables.core.models.test_scoring import folder as classifier  # noqa: F401
from tests.trainables.core.models.test_served_masks import trained  # noqa: F401
from trainables.core.errors import UserError
from trainables.core.models.stored import ensemble_digest
from tuning.fetch import keep_segmentation


def test_a_segmentation_is_kept_once_under_its_digest(trained, tmp_path):  # noqa: F811
    folder, kept = trained[2], tmp_path / "search"
    console = Console(quiet=True)
    target = keep_segmentation(str(folder), None, kept, console)
    assert keep_segmentation(str(folder), None, kept, console) == target
    assert [place.name for place in kept.iterdir()] == [target.name]
    assert ensemble_digest(target) == ensemble_digest(folder)
    assert target.name == f"roi-{ensemble_digest(folder)[:16]}"


def test_what_is_no_segmentation_is_refused(classifier, tmp_path):  # noqa: F811
    console = Console(quiet=True)
    with pytest.raises(UserError, match="--roi must be a segmentation"):
        keep_segmentation(str(classifier), None, tmp_path / "search", console)
    with pytest.raises(UserError, match="--roi must be models:/NAME@champion"):
        keep_segmentation("nothing", None, tmp_path / "search", console)
    assert not (tmp_path / "search").exists()
