"""``tune-evaluate``: score a registered model on labelled images that it has never seen."""

from pathlib import Path
from typing import Annotated

import typer

from tuning.cli.command import Command, console_script, new_app
from tuning.cli.shared_options import (
    DATA,
    RECORD,
    GroupColumn,
    GroupFile,
    GroupPattern,
    ImageColumn,
    LabelColumn,
    Labels,
    label_table,
)
from tuning.console import EXIT_INTERRUPTED, Terminal, say
from tuning.predict.fetch_model import MODEL_PLACES

app = new_app()


@app.command("tune-evaluate", cls=Command)
def evaluate(
    model: Annotated[str, typer.Argument(help=f"Registered model: {MODEL_PLACES}.", show_default=False)],
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
    class_names: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="NEW=OLD",
            help="Class of DATA and the model's name for it. Repeatable. Default: equal names.",
            rich_help_panel=DATA,
        ),
    ] = None,
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
        typer.Option(help="Share of positives where the model will be used, for predictive values and net benefit."),
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
    tracking_uri: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="MLflow tracking server. Default: $MLFLOW_TRACKING_URI, else sqlite:///mlflow.db.",
            rich_help_panel=RECORD,
        ),
    ] = None,
) -> int:
    """Score a registered model on labelled images that it has never seen, such as those of a second hospital.

    Nothing is refitted. Copies of images of the search are left out. The result is logged as a run that the page of
    the model's version lists.

    Exit code 0: done; 1: the result could not be logged; 2: wrong usage.
    """
    from tuning.evaluate.class_names import parse_names
    from tuning.evaluate.describe_data import describe_data

    place = str(Path(data).resolve()) if Path(data).exists() else data
    table = label_table(labels, image=image_column, label=label_column)
    names = parse_names(class_names or [])
    columns = tuple(name.strip() for name in by.split(",") if name.strip()) if by else ()
    console = Terminal()
    try:
        describe_data(place, table, group_column, groups, columns, console)
        from trainables.core.data.splits.groups import Grouping
        from tuning.evaluate.evaluate import EvaluateOptions
        from tuning.evaluate.evaluate import evaluate as run
        from tuning.evaluate.external_data import DataRequest

        request = DataRequest(place, table, Grouping(None, group_column, group_pattern, file=groups), names)
        options = EvaluateOptions(model, request, columns, prevalence, recalibrate, json_file, report, tracking_uri)
        return run(options, console)
    except KeyboardInterrupt:
        say(console, "Interrupted.")
        return EXIT_INTERRUPTED


main = console_script(app)

if __name__ == "__main__":
    main()
