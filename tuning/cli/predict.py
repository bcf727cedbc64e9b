"""``tune-predict``: score images with a registered model."""

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from trainables.core.errors import UserError
from tuning.cli.command import Command, console_script, interruptible, new_app
from tuning.cli.options.data_options import GroupPattern, ImageColumn, column_names
from tuning.cli.options.model_options import RegisteredModel
from tuning.cli.options.record_options import TrackingUri

app = new_app()


class Per(StrEnum):
    """Units that have a row of their own."""

    IMAGE = "image"
    PATIENT = "patient"


@app.command("tune-predict", cls=Command)
def predict(
    model: RegisteredModel,
    images: Annotated[
        list[str], typer.Argument(help="Images: files, folders, or Hub-layout Parquet.", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="FILE", help="CSV file. It and its masks are only replaced once all images are scored."),
    ] = Path("predictions.csv"),
    tracking_uri: TrackingUri = None,
    per: Annotated[
        Per,
        typer.Option(help="Rows of the CSV file: images, or patients, whose images the model combines by its rule."),
    ] = Per.IMAGE,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Table whose rows are predicted, in its order: CSV, TSV, Excel or Parquet. Its other columns follow "
            "the predictions, except those that may identify a person.",
        ),
    ] = None,
    image_column: ImageColumn = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMNS",
            help="Columns of --labels that follow the predictions, like site,sex. Default: all except those that may "
            "identify a person.",
        ),
    ] = None,
    groups: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Table with the patient of each image: columns image and group."),
    ] = None,
    group_column: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Column of --groups, --labels or Parquet that identifies each image's patient."
        ),
    ] = None,
    group_pattern: GroupPattern = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster to score on, used if it has GPUs or several nodes; not used for segmentations. "
            "Default: $RAY_ADDRESS."
        ),
    ] = None,
) -> int:
    """Score images with a registered model and write a CSV file: one row per image, one probability column per class.

    With --per patient, there is one row per patient. Patients are known from DICOM files, from a patient column of
    Parquet or of --labels, or from --groups, --group-column or --group-pattern. A segmentation model writes one mask
    per image, into a folder beside the CSV file and named like it.

    Exit code 0: all images were scored; 1: some failed, see the column error; 2: wrong usage.
    """
    from tuning.predict.batch_prediction import PredictOptions, predict_images
    from tuning.predict.image_patients import PatientSource
    from tuning.predict.table_rows import TableSource

    if per is not Per.PATIENT and (groups or group_column or group_pattern):
        raise UserError("--groups, --group-column and --group-pattern name patients: add --per patient")
    if labels is None and (image_column or columns):
        raise UserError("--image-column and --columns name columns of a table: add --labels FILE")
    of_table = group_column if labels and not groups else None
    source = PatientSource(groups, None if of_table else group_column, group_pattern)
    named = None if columns is None else column_names("--columns", columns)
    options = PredictOptions(
        model,
        images,
        out,
        tracking_uri,
        address,
        source if per is Per.PATIENT else None,
        TableSource(labels, image_column, of_table, named) if labels else None,
    )
    return interruptible(partial(predict_images, options), unchanged=out)


main = console_script(app)

if __name__ == "__main__":
    main()
