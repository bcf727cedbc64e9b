"""``tune-evaluate``: score a registered model on labelled images that it has never seen."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tuning.cli.command import Command, console_script, interruptible, new_app
from tuning.cli.options.data_options import (
    GroupColumn,
    GroupFile,
    GroupPattern,
    ImageColumn,
    LabelColumn,
    Labels,
    absolute_place,
    column_names,
    label_table,
)
from tuning.cli.options.model_options import ClassMap, RegisteredModel, data_request
from tuning.cli.options.record_options import RECORD, TrackingUri

app = new_app()


@app.command("tune-evaluate", cls=Command)
def evaluate(
    model: RegisteredModel,
    data: Annotated[
        str,
        typer.Argument(
            help="Labelled images: a local, s3:// or gs:// folder (class folders, images/ and masks/, Hub-layout "
            "Parquet, or images with --labels), or a Hugging Face Hub name.",
            show_default=False,
        ),
    ],
    labels: Labels = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    class_names: ClassMap = None,
    group_column: GroupColumn = None,
    group_pattern: GroupPattern = None,
    groups: GroupFile = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMNS",
            help="Columns of --labels or --groups, or DICOM tags, whose values divide the images into subgroups, like "
            "site,sex,age. Ages and other numbers are divided into ranges.",
        ),
    ] = None,
    prevalence: Annotated[
        float | None,
        typer.Option(
            help="Share of positives where the model will be used, for predictive values and net benefit. Of several "
            "labels, it is assumed for each."
        ),
    ] = None,
    recalibrate: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Share of the groups on which a temperature and biases are fitted. The other groups are scored, "
            "before and after it. The model stays as it is.",
        ),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="JSON file for the complete result.", rich_help_panel=RECORD),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="HTML file for the report.", rich_help_panel=RECORD)
    ] = None,
    tracking_uri: TrackingUri = None,
) -> int:
    """Score a registered model on labelled images that it has never seen, such as those of a second hospital.

    Nothing is refitted. Copies of images of the search are left out. The result is logged as a run that the page of
    the model's version lists.

    Exit code 0: done; 1: the result could not be logged; 2: wrong usage.
    """
    from tuning.evaluate.data.describe_data import describe_data

    table = label_table(labels, image=image_column, label=label_column)
    columns = () if by is None else column_names("--by", by)

    def run(console: Console) -> int:
        place = absolute_place(data)
        describe_data(place, table, group_column, groups, columns, console)
        from tuning.evaluate.evaluate import EvaluateOptions
        from tuning.evaluate.evaluate import evaluate as run_evaluation

        request = data_request(place, table, group_column, group_pattern, groups, class_names)
        options = EvaluateOptions(model, request, columns, prevalence, recalibrate, json_file, report, tracking_uri)
        return run_evaluation(options, console)

    return interruptible(run)


main = console_script(app)

if __name__ == "__main__":
    main()
