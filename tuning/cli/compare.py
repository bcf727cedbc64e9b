"""``tune-compare``: put two searches or registered versions side by side."""

from typing import Annotated

import typer

from tuning.cli.command import Command, console_script, new_app
from tuning.cli.shared_options import SearchTrackingUri, Storage, StudyStorage
from tuning.console import Terminal

app = new_app()
_HELP = "Name of a search, or a version that it registered: models:/NAME/3 or models:/NAME@champion."


@app.command("tune-compare", cls=Command)
def compare(
    a: Annotated[str, typer.Argument(help=_HELP, show_default=False)],
    b: Annotated[str, typer.Argument(help="The other one.", show_default=False)],
    storage: Storage = "results",
    study_storage: StudyStorage = None,
    tracking_uri: SearchTrackingUri = None,
) -> int:
    """Compare two ensembles on the test images that both have, with paired intervals that allow for groups.

    The predictions are those that the searches saved when they opened their test sets. Nothing is opened or fitted
    again. If the test sets differ, only the images in both are compared.

    Exit code 0: compared; 2: wrong usage, or nothing can be compared.
    """
    from tuning.compare.compare import compare as compare_ensembles
    from tuning.compare.contenders import Places

    return compare_ensembles(a, b, Places(storage, study_storage, tracking_uri), Terminal())


main = console_script(app)

if __name__ == "__main__":
    main()
