"""``tune-run``: search a space, register the ensemble of the best models."""

import json
import math
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from tuning.cli.common import (
    DATA,
    RECORD,
    CacheSize,
    Command,
    GroupColumn,
    GroupPattern,
    GroupThreshold,
    SkipBadImages,
    Storage,
    StudyStorage,
    Views,
    new_app,
    refuse,
    run_app,
)

if TYPE_CHECKING:
    from trainables.core.metric_names import Objective
    from tuning.search.options import Options

app = new_app()

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SEARCH, _RESOURCES = "Search", "Resources"


class Split(StrEnum):
    """How the test set comes about."""

    GROUPED = "grouped"
    PUBLISHED = "published"
    RANDOM = "random"


def _seconds(text: str) -> float:
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise typer.BadParameter(f"a time is written like 90s, 30m, 2h or 1h30m, but got {text!r}")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


@app.command(cls=Command)
def run(
    space: Annotated[str | None, typer.Argument(help="A space: its name, file.py, or package.module:SPACE.")] = None,
    list_spaces: Annotated[bool, typer.Option("--list", help="List the spaces, a line each.")] = False,
    dry_run: Annotated[int, typer.Option(min=0, help="Print N configurations as JSON lines, train nothing.")] = 0,
    data: Annotated[
        str | None,
        typer.Option(
            help="A folder, or its s3:// or gs:// (hub-layout parquet, class folders, or images and masks), a hub data "
            "set, or phantoms.",
            rich_help_panel=DATA,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="pretrained, random, or a folder of <backbone>.safetensors.", rich_help_panel=DATA),
    ] = None,
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            help="Replace the space's backbones; repeatable. timm names, torchvision:NAME, scratch_cnn.",
            rich_help_panel=DATA,
        ),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=16, max=2048, help="Side of the network's input, pixels.", rich_help_panel=DATA)
    ] = None,
    roi: Annotated[
        str | None,
        typer.Option(
            help="A registered segmentation (models:/NAME@champion, or a folder): images are cut to what it sees.",
            rich_help_panel=DATA,
        ),
    ] = None,
    skip_bad_images: SkipBadImages = False,
    split: Annotated[
        Split,
        typer.Option(
            help="Of the test set: whole groups of images that belong together, as published, or by image.",
            rich_help_panel=DATA,
        ),
    ] = Split.GROUPED,
    group_threshold: GroupThreshold = None,
    group_column: GroupColumn = None,
    group_pattern: GroupPattern = None,
    cache_size: CacheSize = None,
    num_samples: Annotated[int | None, typer.Option(min=1, help="Trials.", rich_help_panel=_SEARCH)] = None,
    max_epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of a full trial.", rich_help_panel=_SEARCH)
    ] = None,
    time_budget: Annotated[
        float | None,
        typer.Option(parser=_seconds, metavar="TIME", help="Like 30m or 2h.", rich_help_panel=_SEARCH),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="The objective, a bare name. Default: the space's. With a second one (like latency_ms) the "
            "search looks for both, and stops trials and picks members by the first.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    cv_folds: Annotated[
        int | None,
        typer.Option(
            min=2,
            max=20,
            help="Cross-validate: every trial trains so many models and is judged by all images but the test set. "
            "For small sets.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    pruning: Annotated[
        bool, typer.Option(help="Stop trials that fall behind at a third of their epochs.", rich_help_panel=_SEARCH)
    ] = True,
    top_k: Annotated[
        int | None,
        typer.Option(min=1, help="Members to build the ensemble from. Default: the space's.", rich_help_panel=_SEARCH),
    ] = None,
    tta: Annotated[
        Views | None,
        typer.Option(
            help="Test-time augmentation: average over these views. Default: the space's.", rich_help_panel=_SEARCH
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of splits, sampling and training.", rich_help_panel=_SEARCH)] = 0,
    cpus_per_trial: Annotated[
        float | None, typer.Option(min=0.01, help="Default: 1, or a GPU's share.", rich_help_panel=_RESOURCES)
    ] = None,
    gpus_per_trial: Annotated[
        float | None,
        typer.Option(min=0, help="Fractions share a GPU. Default: 1 where there are any.", rich_help_panel=_RESOURCES),
    ] = None,
    gpu_memory: Annotated[
        float | None,
        typer.Option(
            min=1,
            metavar="GB",
            help="What a trial's GPU must have at least, where nodes tell of their cards' classes.",
            rich_help_panel=_RESOURCES,
        ),
    ] = None,
    autoscale: Annotated[
        int,
        typer.Option(
            min=0, help="Where the cluster grows: until so many trials run at once.", rich_help_panel=_RESOURCES
        ),
    ] = 0,
    price_per_gpu_hour: Annotated[
        float | None, typer.Option(min=0, help="To show what the search has cost.", rich_help_panel=_RESOURCES)
    ] = None,
    max_concurrent: Annotated[
        int | None, typer.Option(min=1, help="Trials at once. Default: as many as fit.", rich_help_panel=_RESOURCES)
    ] = None,
    max_failures: Annotated[
        int, typer.Option(min=0, help="How often a trial whose worker died is tried again.", rich_help_panel=_RESOURCES)
    ] = 2,
    trial_timeout: Annotated[
        float | None,
        typer.Option(
            parser=_seconds,
            metavar="TIME",
            help="An epoch longer than this is a hang, and its worker ended. Default: 1h.",
            rich_help_panel=_RESOURCES,
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster to join. Default: the one Ray finds, else one here (local).", rich_help_panel=_RESOURCES
        ),
    ] = None,
    storage: Storage = "results",
    study_storage: StudyStorage = None,
    tracking_uri: Annotated[
        str | None,
        typer.Option(help="MLflow. Default: $MLFLOW_TRACKING_URI, else sqlite:///mlflow.db.", rich_help_panel=RECORD),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the search. Default: the space's.", rich_help_panel=RECORD)
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with an unfinished search.", rich_help_panel=RECORD)] = False,
    report: Annotated[
        bool, typer.Option(help="Make the report, which shows images, at the end.", rich_help_panel=RECORD)
    ] = True,
) -> None:
    """Search for the best transfer-learning model of an image data set, and register an ensemble of the best.

    Exit code 0: at least one trial finished and its ensemble is registered; 1: failed; 2: wrong usage;
    130: interrupted, go on with --resume.
    """
    from search_spaces.space import SpaceError, load_space, shipped_spaces

    console = Console()
    if list_spaces:
        for shipped in shipped_spaces():
            console.print(f"{shipped.name:20} {shipped.title}", markup=False, highlight=False, soft_wrap=True)
        return
    if space is None:
        refuse("tune-run", "a space is needed: tune-run --list shows them")
    try:
        found = load_space(space)
    except SpaceError as error:
        refuse("tune-run", str(error))
    objective = _objective(metric or [found.metric])
    from tuning.search.options import HANG_S, Options  # heavy, so only once it is clear that there is something to do

    options = Options(
        space=found,
        data=data,
        weights=weights,
        backbones=tuple(backbone or ()),
        num_samples=num_samples,
        max_epochs=max_epochs,
        image_size=image_size,
        time_budget_s=math.inf if time_budget is None else time_budget,
        objective=objective,
        pruning=pruning,
        top_k=top_k,
        tta=None if tta is None else tta.value,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
        gpu_memory=gpu_memory,
        autoscale=autoscale,
        price_per_gpu_hour=price_per_gpu_hour,
        max_concurrent=max_concurrent,
        max_failures=max_failures,
        trial_timeout_s=HANG_S if trial_timeout is None else trial_timeout,
        storage=storage,
        study_storage=study_storage,
        tracking_uri=tracking_uri,
        name=name,
        seed=seed,
        address=address,
        resume=resume,
        skip_bad_images=skip_bad_images,
        cache_size=cache_size,
        split=split.value,
        group_threshold=group_threshold,
        group_column=group_column,
        group_pattern=group_pattern,
        cv_folds=cv_folds,
        roi=roi,
        report=report,
    )
    raise typer.Exit(_run(options, dry_run, console))


def _objective(metrics: list[str]) -> "Objective":
    from trainables.core.metric_names import LATENCY, Objective

    if len(set(metrics)) < len(metrics) or len(metrics) > 2:
        refuse("tune-run", f"--metric is given once, or twice with different metrics, but got {', '.join(metrics)}")
    if metrics[0] == LATENCY:
        refuse("tune-run", "latency_ms is a second --metric: by itself it would find the fastest model, not a good one")
    return Objective(*metrics)


def _run(options: "Options", dry_run: int, console: Console) -> int:
    from search_spaces.space import SpaceError
    from trainables.core.errors import UserError
    from tuning.search import session

    try:
        if dry_run:
            for config in options.plan().samples(dry_run):
                print(json.dumps(config))
            return session.EXIT_OK
        code = session.run(options, console)
    except (UserError, SpaceError) as error:
        refuse("tune-run", str(error))
    except KeyboardInterrupt:
        code = session.EXIT_INTERRUPTED
    if code == session.EXIT_INTERRUPTED:
        console.print("Interrupted; nothing is lost. Go on with the same command and --resume.", soft_wrap=True)
    return code


def main() -> None:
    """The console script."""
    run_app(app)


if __name__ == "__main__":
    main()
