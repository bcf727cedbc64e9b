"""Registered models as files on this machine, from MLflow or a folder. No code stored with a model is run."""

from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from tuning.console import say

MODEL_PLACES = "models:/NAME@champion, models:/NAME/3, runs:/RUN_ID/model, or a folder"
_MLFLOW_SCHEMES = ("models:/", "runs:/")


def is_in_mlflow(model: str) -> bool:
    """Return True for a model URI, False for a folder."""
    return model.startswith(_MLFLOW_SCHEMES)


def fetch_model(argument: str, model: str, tracking_uri: str | None, stack: ExitStack, console: Console) -> Path:
    """Return the folder of a registered ensemble, and print the model's digest.

    Args:
        argument: Name of the argument or option that gives ``model``, for messages.
        model: Model URI or folder, see ``MODEL_PLACES``.
        tracking_uri: MLflow tracking URI; None for the default. Only used for model URIs.
        stack: A downloaded model is deleted when it closes.
        console: Console for progress.

    Raises:
        UserError: The model does not exist or is not a registered ensemble.
    """
    from trainables.core.errors import UserError
    from trainables.core.serving.ensemble_files import ensemble_digest, ensemble_folder

    if is_in_mlflow(model):
        from analysis.registry import fetched_model
        from tuning.tracking import server

        with console.status("fetching the model"):
            uri = server.tracking_uri(tracking_uri)
            server.check_server(uri, create=False)
            place = stack.enter_context(fetched_model(uri, model))
    elif Path(model).expanduser().is_dir():
        place = Path(model).expanduser()
    else:
        raise UserError(f"{argument} must be {MODEL_PLACES}, but got {model}")
    folder = ensemble_folder(place)
    say(console, f"model {model}: SHA-256 {ensemble_digest(folder)}")
    return folder
