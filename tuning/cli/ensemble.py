"""``tune-ensemble``: rebuild the ensemble of a search without training."""

import re
from functools import partial
from typing import Annotated

import typer

from trainables.core.errors import UserError
from tuning.cli.command import Command, console_script, new_app
from tuning.cli.options.ensemble_options import ENSEMBLE, CoverageOption, OperatingPointOption, Views, decision_rules
from tuning.cli.options.record_options import SearchName, SearchTrackingUri, Storage, StudyStorage
from tuning.console import Terminal

app = new_app()
_option = partial(typer.Option, rich_help_panel=ENSEMBLE)


@app.command("tune-ensemble", cls=Command)
def ensemble(
    name: SearchName,
    k: Annotated[
        int | None, _option(min=1, help="Number of best trials to use as members. Default: as in the search.")
    ] = None,
    members: Annotated[
        str | None, _option(metavar="3,7,9", help="Trials to use as members, instead of the best K.")
    ] = None,
    rule: Annotated[
        str | None,
        _option(
            metavar="RULE",
            help="Ensemble rule, such as mean or greedy. Default: an average of the members, unless another rule is "
            "clearly better.",
        ),
    ] = None,
    soup: Annotated[
        bool,
        _option(
            "--soup",
            help="Average the weights of trials to one network (a greedy soup), and compare it with the ensemble. "
            "Trials: all with the same backbone and a linear head, or those of --k or --members.",
        ),
    ] = False,
    tta: Annotated[
        Views | None,
        _option(help="Test-time augmentation: views to average predictions over. Default: as in the search."),
    ] = None,
    operating_point: OperatingPointOption = None,
    coverage: CoverageOption = None,
    open_test: Annotated[
        bool, _option("--open-test", help="Score the test set too. Every opening is counted and reported.")
    ] = False,
    register: Annotated[bool, _option("--register", help="Register the ensemble as a model in MLflow.")] = False,
    storage: Storage = "results",
    study_storage: StudyStorage = None,
    tracking_uri: SearchTrackingUri = None,
) -> int:
    """Rebuild the ensemble of a search from its checkpoints and score it on the select split, or out of fold.

    The test set stays sealed unless --open-test is given. Exit code 0: built; 1: no trial can be a member, or MLflow
    failed; 2: wrong usage.
    """
    params = dict(locals())
    if k is not None and members is not None:
        raise UserError("--k and --members both choose the trials: give only one of them")
    if soup and rule is not None:
        raise UserError(f"--rule combines predictions, and --soup averages weights: leave out --rule {rule} or --soup")
    params["members"] = () if members is None else _trial_numbers(members)
    params["tta"] = tta and tta.value
    params["decisions"] = decision_rules(params.pop("operating_point"), params.pop("coverage"))
    from tuning.ensemble.rebuild import RebuildOptions, rebuild

    return rebuild(RebuildOptions(**params), Terminal())


def _trial_numbers(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise UserError(f"--members must be trial numbers like 3,7,9, but got {text!r}")
    return tuple(map(int, text.split(",")))


main = console_script(app)

if __name__ == "__main__":
    main()
