"""``tune-ensemble``: build the ensemble of a search again, without training."""

import re
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from tuning.cli.common import RECORD, Command, Storage, StudyStorage, Views, new_app, refuse, run_app

if TYPE_CHECKING:
    from tuning.ensemble.rebuild import Options

app = new_app()

_ENSEMBLE = "Ensemble"


def _numbers(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d+(,\d+)*", text):
        refuse("tune-ensemble", f"--members must be trials, written like 3,7,9, but got {text!r}")
    return tuple(map(int, text.split(",")))


@app.command(cls=Command)
def ensemble(
    name: Annotated[str, typer.Argument(help="Of the search: its folder in --storage.")],
    k: Annotated[
        int | None,
        typer.Option(min=1, help="Take the best K trials. Default: as the search did.", rich_help_panel=_ENSEMBLE),
    ] = None,
    members: Annotated[
        str | None, typer.Option(metavar="3,7,9", help="Take these trials instead.", rich_help_panel=_ENSEMBLE)
    ] = None,
    rule: Annotated[
        str | None,
        typer.Option(
            help="Take this rule, like mean or greedy, whatever the comparison says.", rich_help_panel=_ENSEMBLE
        ),
    ] = None,
    tta: Annotated[
        Views | None,
        typer.Option(
            help="Test-time augmentation: average over these views. Default: as the search did.",
            rich_help_panel=_ENSEMBLE,
        ),
    ] = None,
    open_test: Annotated[
        bool, typer.Option("--open-test", help="Score the test set too; it is counted.", rich_help_panel=_ENSEMBLE)
    ] = False,
    register: Annotated[
        bool, typer.Option("--register", help="Register the ensemble as a model.", rich_help_panel=_ENSEMBLE)
    ] = False,
    storage: Storage = "results",
    study_storage: StudyStorage = None,
    tracking_uri: Annotated[
        str | None,
        typer.Option(help="MLflow. Default: $MLFLOW_TRACKING_URI, else the search's.", rich_help_panel=RECORD),
    ] = None,
) -> None:
    """Build the ensemble of a search again, from its checkpoints, and score it on select, or out of its folds.

    The test set stays sealed unless --open-test is given. Exit code 0: built; 1: no trial can be a member, or MLflow
    failed; 2: wrong usage.
    """
    if k is not None and members is not None:
        refuse("tune-ensemble", "--k and --members both say which trials: give one of them")
    numbers = () if members is None else _numbers(members)
    from tuning.ensemble.rebuild import Options

    options = Options(
        name=name,
        k=k,
        members=numbers,
        rule=rule,
        tta=tta and tta.value,
        open_test=open_test,
        register=register,
        storage=storage,
        study_storage=study_storage,
        tracking_uri=tracking_uri,
    )
    raise typer.Exit(_rebuild(options))


def _rebuild(options: "Options") -> int:
    from trainables.core.errors import UserError
    from tuning.ensemble.rebuild import rebuild

    try:
        return rebuild(options, Console())
    except UserError as error:
        refuse("tune-ensemble", str(error))


def main() -> None:
    """The console script."""
    run_app(app)


if __name__ == "__main__":
    main()
