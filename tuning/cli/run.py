"""``tune-run``: search a space and register an ensemble of the best models."""

import json
import math
import re
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from trainables.core.errors import UserError
from tuning.cli.command import Command, console_script, new_app
from tuning.cli.shared_options import (
    DATA,
    RECORD,
    AxisOption,
    CacheSize,
    CoverageOption,
    GroupColumn,
    GroupFile,
    GroupPattern,
    GroupThreshold,
    ImageColumn,
    LabelColumn,
    Labels,
    OperatingPointOption,
    OrderedClasses,
    SkipBadImages,
    SlicesOption,
    SplitColumn,
    Storage,
    StudyFile,
    StudyStorage,
    Views,
    WindowOption,
    decision_rules,
    label_table,
    parse_slicing,
    parse_window,
    say_files,
    study_texts,
)
from tuning.console import EXIT_OK, Terminal, say

if TYPE_CHECKING:
    from search_spaces.space import SearchSpace
    from trainables.core.metric_names import Objective
    from tuning.search.options import SearchOptions

app = new_app()

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_data_option, _search_option, _resource_option, _record_option = (
    partial(typer.Option, rich_help_panel=panel) for panel in (DATA, "Search", "Resources", RECORD)
)


class Split(StrEnum):
    """Ways to choose the test set."""

    GROUPED = "grouped"
    PUBLISHED = "published"
    RANDOM = "random"


def _seconds(text: str) -> float:
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise typer.BadParameter(f"a duration must look like 90s, 30m, 2h or 1h30m, but got {text!r}")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


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
        _search_option(parser=_seconds, metavar="TIME", help="Time limit for training, like 30m or 2h. Default: none."),
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
    cpus_per_trial: Annotated[
        float | None,
        _resource_option(
            min=0.01, help="CPUs per trial. Default: its GPU's share of the node's CPUs; 1 without a GPU."
        ),
    ] = None,
    gpus_per_trial: Annotated[
        float | None,
        _resource_option(
            min=0,
            help="GPUs per trial; fractions share one, several train together. Default: 1 if there are any, else 0.",
        ),
    ] = None,
    gpu_memory: Annotated[
        float | None,
        _resource_option(
            min=1, metavar="GB", help="Minimum memory of a trial's GPU, on clusters that announce their GPU classes."
        ),
    ] = None,
    autoscale: Annotated[
        int, _resource_option(min=0, help="Number of concurrent trials for which an autoscaling cluster should grow.")
    ] = 0,
    price_per_gpu_hour: Annotated[
        float | None, _resource_option(min=0, help="Price of one GPU hour, to show the cost of the search.")
    ] = None,
    max_concurrent: Annotated[
        int | None, _resource_option(min=1, help="Maximum number of concurrent trials. Default: as many as fit.")
    ] = None,
    max_failures: Annotated[
        int, _resource_option(min=0, help="Number of times to restart a trial whose worker died.")
    ] = 2,
    trial_timeout: Annotated[
        float | None,
        _resource_option(
            parser=_seconds,
            metavar="TIME",
            help="Time limit for one epoch; a longer one counts as a hang and its worker is killed. Default: 1h.",
        ),
    ] = None,
    address: Annotated[
        str | None,
        _resource_option(
            help="Ray cluster to join, or local to start one here. Default: the one Ray finds, else local."
        ),
    ] = None,
    storage: Storage = "results",
    study_storage: StudyStorage = None,
    tracking_uri: Annotated[
        str | None,
        _record_option(
            metavar="URI", help="MLflow tracking server. Default: $MLFLOW_TRACKING_URI, else sqlite:///mlflow.db."
        ),
    ] = None,
    name: Annotated[
        str | None, _record_option(help="Name of the search. Default: the space's, then NAME-2, ...")
    ] = None,
    resume: Annotated[
        bool, _record_option(help="Resume a search, with its own options unless they are given again.")
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
        for shipped in shipped_spaces():
            say(console, f"{shipped.name:20} {shipped.title}")
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
    return _run(_search_options(loaded, params), dry_run, console)


def _search_options(space: "SearchSpace", params: dict[str, Any]) -> "SearchOptions":
    """Build the options of a search from the command's parameters, most of which have the same name and value."""
    objective = _objective(params["metric"] or [space.metric])
    from tuning.search.options import HANG_S, SearchOptions  # heavy imports come after the cheap checks
    from tuning.search.saved_options import to_save

    given = to_save(params)
    labels = params.pop("labels")
    slicing = parse_slicing(params.pop("axis"), params.pop("slices"))
    columns = {role: params.pop(f"{role}_column") for role in ("image", "label", "split")}
    not_options = {"list_spaces", "dry_run", "backbone", "metric", "time_budget", "trial_timeout"}
    not_options |= {"operating_point", "coverage", "study"}
    options = {name: value for name, value in params.items() if name not in not_options}
    options |= {
        "space": space,
        "backbones": tuple(params["backbone"] or ()),
        "warm_start": tuple(params["warm_start"] or ()),
        "objective": objective,
        "window": parse_window(params["window"]),
        "slicing": slicing,
        "table": label_table(labels, space.table, **columns),
        "time_budget_s": math.inf if params["time_budget"] is None else params["time_budget"],
        "trial_timeout_s": HANG_S if params["trial_timeout"] is None else params["trial_timeout"],
        "tta": params["tta"] and str(params["tta"]),
        "decisions": decision_rules(params["operating_point"], params["coverage"]),
        "split": str(params["split"]),
        "study_texts": study_texts(params["study"]),
        "given": given,
    }
    return SearchOptions(**options)


def _objective(metrics: list[str]) -> "Objective":
    from trainables.core.metric_names import LATENCY, Objective

    if len(set(metrics)) < len(metrics) or len(metrics) > 2:
        raise UserError(f"--metric must be given once, or twice with different names, but got {', '.join(metrics)}")
    if metrics[0] == LATENCY:
        raise UserError(f"{LATENCY} can only be the second --metric: give the metric that makes a good model first")
    return Objective(*metrics)


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
    check_devices(configs, options.gpus_per_trial)
    for config in configs:
        print(json.dumps(config))
    return EXIT_OK


main = console_script(app)

if __name__ == "__main__":
    main()
