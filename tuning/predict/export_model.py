"""A registered model as one file for another runtime."""

import time
from contextlib import ExitStack
from pathlib import Path

import torch
from rich.console import Console

from trainables.core.serving.ensemble_files import ensemble_digest, open_ensemble
from trainables.core.serving.export.onnx_file import export_onnx
from tuning.console import say
from tuning.output_file import check_output_file
from tuning.predict.fetch_model import fetch_model


def export_model(model: str, onnx: Path, tracking_uri: str | None, console: Console) -> int:
    """Write a registered classifier to an ONNX file, and print what the file expects and how well it agrees.

    Returns:
        Exit code 0.

    Raises:
        UserError: The model does not exist or cannot be exported, or ``onnx`` cannot be written.
    """
    check_output_file("--onnx", onnx)
    with ExitStack() as stack:
        folder = fetch_model("MODEL", model, tracking_uri, stack, console)
        ensemble = open_ensemble(folder, torch.device("cpu"))
        began = time.monotonic()
        with console.status("writing the ONNX file and comparing its answers with the model's"):
            difference = export_onnx(ensemble, onnx, ensemble_digest(folder))
    pixels = ensemble.pixel_format
    kind = f"int32 from {pixels.black} to {pixels.white}" if pixels.is_deep else "uint8"
    seconds, megabytes = time.monotonic() - began, onnx.stat().st_size / 1e6
    say(console, f"{onnx}: {megabytes:.1f} MB, written in {seconds:.0f} s")
    say(console, f"input images: (N, height, width, {pixels.channels}) {kind}, of any height and width")
    say(console, f"output probabilities: (N, {len(ensemble.class_names)}) of {', '.join(ensemble.class_names)}")
    say(console, f"largest difference from the model on random images: {difference:.1g}")
    return 0
