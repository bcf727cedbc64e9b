"""``tune-promote``: make a version of a registered model its champion."""

import getpass
import os
from typing import Annotated

import typer

from trainables.core.errors import UserError
from tuning.cli.command import Command, console_script, new_app
from tuning.cli.options.record_options import TrackingUri
from tuning.console import EXIT_OK, Terminal, say

app = new_app()


@app.command("tune-promote", cls=Command)
def promote(
    model: Annotated[str, typer.Argument(help="Name of the registered model.", show_default=False)],
    version: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Version to promote. Default: the challenger.")
    ] = None,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Reason, in one line; kept with your user name and the time.")
    ] = None,
    history: Annotated[bool, typer.Option("--history", help="Show all champions so far, and change nothing.")] = False,
    tracking_uri: TrackingUri = None,
) -> int:
    """Make a version of a registered model its champion, whatever its score.

    Searches that end later do not replace a champion that was promoted by a person. The pages of the model and of both
    versions say who promoted it, when, and why.

    Exit code 0: the champion has changed, or the history was shown; 2: wrong usage.
    """
    from analysis import registry
    from tuning.tracking import server

    reason = (reason or "").strip().rstrip(".")
    if not history and not reason:
        raise UserError("--reason must say why the version becomes the champion, but none was given")
    if history and (version or reason):
        raise UserError("--history changes nothing: leave out --version and --reason")
    name, numbered = registry.parse_model(model)
    if version and numbered and int(numbered) != version:
        raise UserError(f"MODEL and --version must name the same version, but got {numbered} and {version}")
    uri, console = server.tracking_uri(tracking_uri), Terminal()
    server.check_server(uri, create=False)
    if history:
        champions = registry.history(uri, name)
        for champion in champions:
            say(console, champion.describe())
        if not champions:
            say(console, f"{name} has no recorded change of its champion")
        return EXIT_OK
    chosen = numbered or (str(version) if version else None)
    promotion = registry.promote(uri, name, chosen, _user(), reason)
    say(console, f"models:/{name}@champion: {promotion.describe()}")
    return EXIT_OK


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number without a name
        return f"user {os.getuid()}"


main = console_script(app)

if __name__ == "__main__":
    main()
