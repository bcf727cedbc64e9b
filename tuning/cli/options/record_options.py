"""Options of the panel "Storage and tracking", and the name of a search."""

from pathlib import Path
from typing import Annotated

import typer

RECORD = "Storage and tracking"
SearchName = Annotated[str, typer.Argument(help="Name of the search, which is its folder in --storage.")]
Storage = Annotated[
    str,
    typer.Option(
        envvar="TUNE_RUN_STORAGE", help="Folder of all searches: a path, s3:// or gs://.", rich_help_panel=RECORD
    ),
]
StudyStorage = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="TUNE_RUN_STUDY_STORAGE",
        help="Database of the study. Default: a journal file in the search's folder.",
        rich_help_panel=RECORD,
    ),
]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        metavar="URI",
        help="MLflow tracking server. Default: $MLFLOW_TRACKING_URI, else sqlite:///mlflow.db.",
        rich_help_panel=RECORD,
    ),
]
SearchTrackingUri = Annotated[
    str | None,
    typer.Option(
        metavar="URI",
        help="MLflow tracking server. Default: $MLFLOW_TRACKING_URI, else the one the search used.",
        rich_help_panel=RECORD,
    ),
]
StudyFile = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="YAML file with what only people know about the study (purpose, ethics, population, reference standard), "
        "for the report's CLAIM checklist.",
        rich_help_panel=RECORD,
    ),
]


def study_texts(file: str | None) -> dict[str, str] | None:
    """Read the study file; None without one.

    Raises:
        UserError: The file cannot be read, or has an unknown key.
    """
    if file is None:
        return None
    from analysis.report.reporting.study_file import read_study_file

    return read_study_file(Path(file))
