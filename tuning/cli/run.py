"""``tune-run``: search a space and register an ensemble of the best models."""

import json
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from trainables.core.errors import UserError
from tuning.cli.command import Command, console_script, new_app
from tuning.cli.options.data_options import (
    DATA,
    AxisOption,
    CacheSize,
    GroupColumn,
    GroupFile,
    GroupPattern,
    GroupThreshold,
    ImageColumn,
    LabelColumn,
    Labels,
    OrderedClasses,
    SkipBadImages,
    SlicesOption,
    SplitColumn,
    WindowOption,
    say_files,
)
from tuning.cli.options.ensemble_options import CoverageOption, OperatingPointOption, Views
from tuning.cli.options.record_options import RECORD, Storage, StudyFile, StudyStorage, TrackingUri
from tuning.cli.options.resource_options import (
    Address,
    Autoscale,
    CpusPerTrial,
    GpuMemory,
    GpusPerTrial,
    MaxConcurrent,
    MaxFailures,
    PricePerGpuHour,
    TrialTimeout,
    parse_duration,
)
from tuning.cli.options.search_options import search_options
from tuning.console import EXIT_OK, Terminal, say

if TYPE_CHECKING:
    from tuning.search.options import SearchOptions

app = new_app()
_data_option, _search_option, _record_option = (
    partial(typer.Option, rich_help_panel=panel) for panel in (DATA, "Search", RECORD)
)


class Split(StrEnum):
    """Ways to choose the test set."""

    GROUPED = "grouped"
    PUBLISHED = "published"
    RANDOM = "random"


@app.command("tune-run", cls=Command)
def run(
    ctx: typer.Context,
    space: Annotated[
        str | None,
        typer.Argument(
            help="Search space: a name from --list, a file.py, or package.module:SPACE. With --resume also a search's "
            "name."
        ),
    ] = None,
    list_spaces: Annotated[bool, typer.Option("--list", help="List the available search spaces.")] = False,
    dry_run: Annotated[
        int, typer.Option(min=0, metavar="N", help="Number of configurations to print as JSON instead of training.")
    ] = 0,
    data: Annotated[
        str | None,
        _data_option(
            help="Data set: a local, s3:// or gs:// folder (class folders, Hub-layout Parquet, images with --labels, "
            "or images and masks), a Hugging Face Hub name, or phantoms. Default: the space's."
        ),
    ] = None,
    labels: Labels = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    split_column: SplitColumn = None,
    ordered: OrderedClasses = None,
    window: WindowOption = None,
    axis: AxisOption = None,
    slices: SlicesOption = None,
    weights: Annotated[
        str | None,
        _data_option(
            help="Initial weights: pretrained, random, or a folder of BACKBONE.safetensors. Default: the space's."
        ),
    ] = None,
    backbone: Annotated[
        list[str] | None,
        _data_option(
            metavar="NAME",
            help="Backbone that replaces the space's: a timm name, torchvision:NAME or scratch_cnn. Repeatable.",
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        _data_option(min=16, max=2048, help="Side of the network's input in pixels. Default: the space's."),
    ] = None,
    roi: Annotated[
        str | None,
        _data_option(
            metavar="MODEL",
            help="Registered segmentation to crop images with: models:/NAME@champion or a folder.",
        ),
    ] = None,
    skip_bad_images: SkipBadImages = False,
    split: Annotated[
        Split,
        _data_option(
            help="Test set: whole groups (the published split if it divides none), as published, or random images."
        ),
    ] = Split.GROUPED,
    group_threshold: GroupThreshold = None,
    group_column: GroupColumn = None,
    group_pattern: GroupPattern = None,
    groups: GroupFile = None,
    cache_size: CacheSize = None,
    num_samples: Annotated[int | None, _search_option(min=1, help="Number of trials. Default: the space's.")] = None,
    max_epochs: Annotated[
        int | None, _search_option(min=1, help="Number of epochs of a full trial. Default: the space's.")
    ] = None,
    time_budget: Annotated[
        float | None,
        _search_option(
            parser=parse_duration,
            metavar="TIME",
            help="Time limit for training, like 30m or 2h. With --resume, the rest of it unless given again. "
            "Default: none.",
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        _search_option(
            metavar="NAME",
            help="Metric to optimise; patient_NAME scores patients instead of images. Give a second one (such as "
            "latency_ms) to search for the trade-off: trials are paused and members chosen by the first. Default: the "
            "space's.",
        ),
    ] = None,
    cv_folds: Annotated[
        int | None,
        _search_option(
            min=2,
            max=20,
            help="Number of cross-validation folds, for small data sets: each trial trains one model per fold and is "
            "judged on all images outside the test set.",
        ),
    ] = None,
    pruning: Annotated[
        bool,
        _search_option(
            help="Pause trials that have fallen behind after a quarter or half of their epochs. They continue once "
            "they are among the better half."
        ),
    ] = True,
    stop_when_converged: Annotated[
        bool,
        _search_option(
            help="Start no more trials once 20 have run in full and none of the last 10 of them is the best. Without "
            "this option, a note says so."
        ),
    ] = False,
    warm_start: Annotated[
        list[str] | None,
        _search_option(
            metavar="NAME",
            help="Earlier search whose best trials are tried first: its name in --storage, or its folder. Repeatable.",
        ),
    ] = None,
    top_k: Annotated[
        int | None, _search_option(min=1, help="Number of trials to build the ensemble from. Default: the space's.")
    ] = None,
    tta: Annotated[
        Views | None,
        _search_option(help="Test-time augmentation: views to average predictions over. Default: the space's."),
    ] = None,
    operating_point: OperatingPointOption = None,
    coverage: CoverageOption = None,
    seed: Annotated[int, _search_option(min=0, help="Random seed for splits, sampling and training.")] = 0,
    cpus_per_trial: CpusPerTrial = None,
    gpus_per_trial: GpusPerTrial = None,
    gpu_memory: GpuMemory = None,
    autoscale: Autoscale = 0,
    price_per_gpu_hour: PricePerGpuHour = None,
    max_concurrent: MaxConcurrent = None,
    max_failures: MaxFailures = 2,
    trial_timeout: TrialTimeout = None,
    address: Address = None,
    storage: Storage = "results",
    study_storage: StudyStorage = None,
    tracking_uri: TrackingUri = None,
    name: Annotated[
        str | None, _record_option(help="Name of the search. Default: the space's, then NAME-2, ...")
    ] = None,
    resume: Annotated[
        bool,
        _record_option(
            help="Resume a search with its saved options. An option that would change the results, and another MLflow "
            "server, are refused."
        ),
    ] = False,
    study: StudyFile = None,
    report: Annotated[bool, _record_option(help="Write the HTML report, which shows images, at the end.")] = True,
) -> int:
    """Search for the best transfer-learning model of an image data set and register an ensemble of the best models.

    Exit code 0: the ensemble is registered; 1: the search failed; 2: wrong usage; 130: interrupted, rerun with
    --resume.
    """
    params = dict(locals())
    ctx = params.pop("ctx")
    from search_spaces.space import load_space, shipped_spaces

    console = Terminal()
    if list_spaces:
        spaces = shipped_spaces()
        width = max(len(shipped.name) for shipped in spaces)
        for shipped in spaces:
            say(console, f"{shipped.name:{width}} {shipped.title}")
        return EXIT_OK
    if resume:
        from tuning.search.saved_options import resumed

        sources = {option: ctx.get_parameter_source(option) for option in params}
        given = {option for option, source in sources.items() if source is not None and source.name != "DEFAULT"}
        params = resumed(params, given)
    if params["space"] is None:
        raise UserError("a search space is missing: tune-run --list shows the available ones")
    loaded = load_space(params["space"])
    if not dry_run:
        say_files(console, params["data"] or loaded.data)
    return _run(search_options(loaded, params), dry_run, console)


def _run(options: "SearchOptions", dry_run: int, console: Console) -> int:
    from tuning.search import session
    from tuning.search.first_trials import warm_start
    from tuning.search.preflight import check_devices, check_plan

    if not dry_run:
        return session.run(options, console)
    options.check()
    plan = options.plan()
    check_plan(plan)
    warm = warm_start(options.warm_start, plan, options.storage, options.study_storage)
    configs = plan.samples(dry_run, options.trials, warm)
    check_devices(configs, options.known_gpus)
    for config in configs:
        print(json.dumps(config))
    return EXIT_OK


main = console_script(app)

if __name__ == "__main__":
    main()
