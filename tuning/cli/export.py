"""``tune-export``: write a registered model to one file for another runtime."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from tuning.cli.command import Command, console_script, interruptible, new_app
from tuning.cli.options.model_options import RegisteredModel
from tuning.cli.options.record_options import TrackingUri

app = new_app()


@app.command("tune-export", cls=Command)
def export(
    model: RegisteredModel,
    onnx: Annotated[
        Path,
        typer.Option(metavar="FILE", help="ONNX file to write, once its predictions agree with the model's."),
    ],
    tracking_uri: TrackingUri = None,
) -> int:
    """Write a registered classifier to an ONNX file: resizing, members, and the rule that combines them.

    The file needs only an ONNX runtime. It takes raw pixels of any size and returns class probabilities, which are
    compared with the model's before the file appears.

    Exit code 0: the file agrees with the model; 2: the model cannot be exported, or wrong usage.
    """
    from tuning.predict.export_model import export_model

    return interruptible(partial(export_model, model, onnx, tracking_uri), unchanged=onnx)


main = console_script(app)

if __name__ == "__main__":
    main()
