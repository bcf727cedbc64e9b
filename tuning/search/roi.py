"""The segmentation that finds the regions to crop images to (``--roi``)."""

import shutil
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from trainables.core.atomic_write import atomic_folder
from trainables.core.data.decode.crop import Regions
from trainables.core.errors import UserError, first_line
from trainables.core.serving.roi_finder import open_segmentation
from tuning.predict.fetch_model import fetch_model


def fetch_segmentation(model: str, tracking_uri: str | None, stack: ExitStack, console: Console) -> Path:
    """Return the folder of a registered segmentation. The arguments are those of ``fetch_model``.

    Raises:
        UserError: The model does not exist or is not a segmentation.
    """
    folder = fetch_model("--roi", model, tracking_uri, stack, console)
    open_segmentation(folder, torch.device("cpu"))  # only to check it
    return folder


def save_segmentation(regions: Regions, below: Path) -> Regions:
    """Copy the segmentation that found the regions into a folder named by its digest, unless it is there already.

    Returns:
        The regions, with the copy as their model.

    Raises:
        UserError: It cannot be copied.
    """
    target = below / f"roi-{regions.digest[:16]}"
    if not target.exists():
        try:
            with atomic_folder(target) as partial:
                shutil.copytree(regions.model, partial, dirs_exist_ok=True)
        except OSError as error:
            rule = "the --roi model is copied to --storage"
            raise UserError(
                f"{rule}, but {regions.model} could not be copied to {below}: {first_line(error)}"
            ) from error
    return replace(regions, model=target)
