"""``tune-predict``: class probabilities of images by a registered ensemble, as a CSV file; or their masks."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tuning.cli.common import Command, new_app, refuse, run_app
from tuning.search.roi import MODELS, fetch_ensemble

if TYPE_CHECKING:
    from trainables.core.data.readers.unlabelled import Part
    from trainables.core.serving.score_images import ScoredImage

app = new_app()

EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130
_SHOWN = 10


@app.command(cls=Command)
def predict(
    model: Annotated[
        str,
        typer.Argument(help=f"{MODELS}.", show_default=False),
    ],
    images: Annotated[
        list[str], typer.Argument(help="Image files, folders, or parquet in the hub's layout.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option(help="The CSV file; it is replaced once all images are scored, and so are its masks.")
    ] = Path("predictions.csv"),
    tracking_uri: Annotated[
        str | None, typer.Option(help="MLflow. Default: $MLFLOW_TRACKING_URI, else sqlite:///mlflow.db.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster to score on (not masks), if it has GPUs or several nodes. Default: $RAY_ADDRESS."
        ),
    ] = None,
) -> None:
    """Score images with a model that tune-run registered: a row an image, a column of probabilities a class.

    A segmentation writes a mask an image into the folder that is named like the CSV file, without its suffix.

    Exit code 0: all images were scored; 1: some could not be, and their rows say why; 2: wrong usage.
    """
    from trainables.core.errors import UserError

    console = Console()
    try:
        code = _predict(model, images, out, tracking_uri, address, console)
    except UserError as error:
        refuse("tune-predict", str(error))
    except KeyboardInterrupt:
        console.print(f"Interrupted; {out} was not touched.", markup=False, highlight=False, soft_wrap=True)
        code = EXIT_INTERRUPTED
    raise typer.Exit(code)


def _predict(
    model: str, images: Sequence[str], out: Path, tracking_uri: str | None, address: str | None, console: Console
) -> int:
    from trainables.core.data.readers.unlabelled import find_parts
    from trainables.core.data.readers.untrusted_files import printable
    from tuning.predict.predictions_file import PredictionsFile

    parts = find_parts([str(Path(place).expanduser()) for place in images])
    with ExitStack() as stack:
        file = stack.enter_context(PredictionsFile(out.expanduser()))
        folder = fetch_ensemble("MODEL", model, tracking_uri, stack, console)
        class_names, scored, masks = _scorer(folder, parts, address, stack)
        file.begin(class_names, masks)
        failed, total = [], sum(part.images for part in parts)
        for row in _shown(scored, total, console):
            file.write(row)
            if row.error:
                failed.append(printable(f"{row.name}: {row.error}"))
    for line in failed[:_SHOWN]:
        console.print(f"not scored: {line}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    if len(failed) > _SHOWN:
        more = f"and {len(failed) - _SHOWN} more, in the column error of {out}"
        console.print(more, style="yellow", markup=False, highlight=False, soft_wrap=True)
    done = f"{total - len(failed)} of {total} images scored: {out}"
    console.print(done, markup=False, highlight=False, soft_wrap=True)
    return EXIT_FAILED if failed else EXIT_OK


def _scorer(
    folder: Path, parts: "Sequence[Part]", address: str | None, stack: ExitStack
) -> "tuple[Sequence[str], Iterator[ScoredImage], bool]":
    """Class names, the images scored in order, and whether that gives masks.

    By the cluster where there is one, else here; masks are always made here, and no cluster is joined for them.
    """
    import torch

    from trainables.core.serving.ensemble_files import open_ensemble
    from trainables.core.serving.score_images import score_parts

    several = torch.cuda.device_count() > 1
    wanted = address or os.environ.get("RAY_ADDRESS") or ("local" if several else None)
    by_cluster = wanted is not None and (wanted != "local" or several)
    ensemble = open_ensemble(folder, torch.device("cpu") if by_cluster else None)  # a GPU is for the cluster to use
    masks = ensemble.predicts_masks
    if by_cluster and not masks:
        from tuning.predict.cluster_scoring import is_worth_it, score_on_cluster
        from tuning.ray_backend.cluster import joined

        stack.enter_context(joined(wanted))
        if is_worth_it():
            return ensemble.class_names, score_on_cluster(folder, parts), False
    if by_cluster and torch.cuda.is_available():
        ensemble = open_ensemble(folder)
    return ensemble.class_names, score_parts(ensemble, parts), masks


def _shown(scored: "Iterator[ScoredImage]", total: int, console: Console) -> "Iterator[ScoredImage]":
    """Passes rows on, with a progress bar on a terminal."""
    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield from progress.track(scored, total=total)


def main() -> None:
    """The console script."""
    run_app(app)


if __name__ == "__main__":
    main()
