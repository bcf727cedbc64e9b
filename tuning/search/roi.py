"""Models that a command is given: from MLflow or a folder, as files on this machine; no code of theirs is run."""

import shutil
import uuid
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from trainables.core.data.decode.crop import Regions

MODELS = "models:/NAME@champion, models:/NAME/3, runs:/RUN_ID/model, or a folder"
_REMOTE = ("models:/", "runs:/")


def fetch_ensemble(called: str, model: str, tracking_uri: str | None, stack: ExitStack, console: Console) -> Path:
    """The folder of a served ensemble; MLflow is asked only for what lies there.

    Args:
        called: The argument or option that names it, for messages.
        model: What the user gave.
        tracking_uri: Of MLflow, or None for its default.
        stack: What was downloaded lasts as long.
        console: For how far it is, and to print the model's digest.

    Raises:
        UserError: There is no such model.
    """
    from trainables.core.errors import UserError
    from trainables.core.serving.ensemble_files import ensemble_digest, ensemble_folder

    if model.startswith(_REMOTE):
        from analysis.registry import fetched_model  # MLflow, only for what lies there
        from tuning.tracking import server

        with console.status("fetching the model"):
            uri = server.tracking_uri(tracking_uri)
            server.check_server(uri, create=False)
            place = stack.enter_context(fetched_model(uri, model))
    elif Path(model).expanduser().is_dir():
        place = Path(model).expanduser()
    else:
        raise UserError(f"{called} must be {MODELS}, but got {model}")
    folder = ensemble_folder(place)
    console.print(f"model {model}: SHA-256 {ensemble_digest(folder)}", markup=False, highlight=False, soft_wrap=True)
    return folder


def fetch_segmentation(model: str, tracking_uri: str | None, stack: ExitStack, console: Console) -> Path:
    """The folder of the segmentation that ``--roi`` names; arguments are those of ``fetch_ensemble``.

    Raises:
        UserError: There is no such model, or it is none of masks.
    """
    from trainables.core.serving.roi_finder import open_segmentation

    folder = fetch_ensemble("--roi", model, tracking_uri, stack, console)
    open_segmentation(folder)
    return folder


def keep_segmentation(regions: "Regions", below: Path) -> "Regions":
    """Copies the segmentation that saw the regions into a folder, whole or not at all, under its digest.

    Raises:
        UserError: It cannot be copied.
    """
    from trainables.core.errors import UserError, first_line

    target = below / f"roi-{regions.digest[:16]}"
    if not target.exists():
        partial = below / f".{target.name}.{uuid.uuid4().hex}.partial"
        try:
            shutil.copytree(regions.model, partial)
            partial.rename(target)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            copied = f"the files of --roi are copied to --storage, but {regions.model} could not be to {below}"
            raise UserError(f"{copied}: {first_line(error)}") from error
    return replace(regions, model=target)
