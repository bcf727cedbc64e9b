"""``tune-compare``: put two searches, registered models or evaluations side by side."""

from typing import Annotated

import typer
from rich.console import Console

from trainables.core.errors import UserError
from tuning.cli.command import Command, console_script, interruptible, new_app
from tuning.cli.options.data_options import (
    DATA,
    GroupColumn,
    GroupFile,
    GroupPattern,
    ImageColumn,
    LabelColumn,
    Labels,
    absolute_place,
    label_table,
)
from tuning.cli.options.model_options import ClassMap, data_request
from tuning.cli.options.record_options import SearchTrackingUri, Storage, StudyStorage

app = new_app()
_HELP = (
    "Name of a search, or a version that it registered: models:/NAME/3 or models:/NAME@champion. With --data, any "
    "registered model. Or an evaluation: runs:/RUN_ID of tune-evaluate, or the file of its --json."
)


@app.command("tune-compare", cls=Command)
def compare(
    a: Annotated[str, typer.Argument(help=_HELP, show_default=False)],
    b: Annotated[str, typer.Argument(help="Search, model or evaluation to compare it with.", show_default=False)],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Labelled images on which both models are scored, as in tune-evaluate. Default: the test images that "
            "both searches have, or the images of the evaluations.",
            rich_help_panel=DATA,
        ),
    ] = None,
    labels: Labels = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    class_names: ClassMap = None,
    group_column: GroupColumn = None,
    group_pattern: GroupPattern = None,
    groups: GroupFile = None,
    storage: Storage = "results",
    study_storage: StudyStorage = None,
    tracking_uri: SearchTrackingUri = None,
) -> int:
    """Compare two ensembles on the same images, with paired intervals that allow for groups.

    Two searches are compared on the test images that both have, by the predictions that they saved when they opened
    their test sets. Versions that tune-ensemble registered with --open-test score these images once more. Nothing is
    opened or fitted again. If the test sets differ, only the images in both are compared. With --data, or for two
    evaluations, both models are scored on labelled images that neither search has seen.

    Exit code 0: compared; 2: wrong usage, or nothing can be compared.
    """
    table = label_table(labels, image=image_column, label=label_column)
    if data is None and any((labels, class_names, group_column, group_pattern, groups)):
        raise UserError("--labels, --map and group options describe DATA: add --data DATA")

    def run(console: Console) -> int:
        if data is not None:
            place = absolute_place(data)
            from tuning.evaluate.data.describe_data import describe_data

            describe_data(place, table, group_column, groups, (), console)
            from tuning.compare.rescored import Candidate, compare_on_data

            request = data_request(place, table, group_column, group_pattern, groups, class_names)
            return compare_on_data([Candidate(name, request) for name in (a, b)], tracking_uri, console)
        from tuning.compare.compare import compare as compare_ensembles
        from tuning.compare.contenders import Places
        from tuning.compare.rescored import compare_on_data, evaluated

        stored = evaluated((a, b), tracking_uri)
        if stored is not None:
            return compare_on_data(stored, tracking_uri, console)
        return compare_ensembles(a, b, Places(storage, study_storage, tracking_uri), console)

    return interruptible(run)


main = console_script(app)

if __name__ == "__main__":
    main()
