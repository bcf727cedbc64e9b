"""Options of a search, with defaults from its space."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from analysis.ensembles.decisions import DEFAULT_DECISIONS, DecisionRules
from analysis.ensembles.tasks.choose import TASKS as RESULTS
from search_spaces.space import SearchSpace
from trainables.core.data.decode.dicom import Window
from trainables.core.data.decode.nifti import Slicing
from trainables.core.data.grades import Ordered
from trainables.core.data.readers.open_source import PHANTOMS
from trainables.core.data.readers.tables.label_columns import LabelTable
from trainables.core.data.splits.groups import Grouping
from trainables.core.errors import UserError
from trainables.core.metric_names import LATENCY, Objective
from trainables.core.serving.predict_classes import VIEWS
from tuning.search.plan import Plan
from tuning.search.tasks import TASKS
from tuning.study.data_request import DataRequest
from tuning.study.search_folder import check_address

HANG_S = 3600.0
# Values of options that are no paths, even if there is a folder of that name.
_KEYWORDS = {"data": {PHANTOMS}, "weights": {"pretrained", "random"}}


@dataclass(frozen=True)
class SearchOptions:
    """Options of ``tune-run``. None leaves the choice to the space or the cluster.

    ``given`` holds the options as JSON, for ``--resume``. With ``continue_budget``, the time that earlier sessions have
    trained counts toward the time budget.
    """

    space: SearchSpace
    data: str | None = None
    table: LabelTable | None = None
    window: Window | None = None
    slicing: Slicing | None = None
    weights: str | None = None
    backbones: tuple[str, ...] = ()
    num_samples: int | None = None
    max_epochs: int | None = None
    image_size: int | None = None
    time_budget_s: float = math.inf
    continue_budget: bool = False
    objective: Objective | None = None
    pruning: bool = True
    stop_when_converged: bool = False
    top_k: int | None = None
    tta: str | None = None
    decisions: DecisionRules = DEFAULT_DECISIONS
    cpus_per_trial: float | None = None
    gpus_per_trial: float | Literal["auto"] | None = None
    gpu_memory: float | None = None
    autoscale: int = 0
    price_per_gpu_hour: float | None = None
    max_concurrent: int | None = None
    max_failures: int = 2
    trial_timeout_s: float = HANG_S
    storage: str = "results"
    study_storage: str | None = None
    tracking_uri: str | None = None
    name: str | None = None
    seed: int = 0
    address: str | None = None
    resume: bool = False
    skip_bad_images: bool = False
    cache_size: str | None = None
    report: bool = True
    study_texts: Mapping[str, str] | None = None
    split: str = "grouped"
    group_threshold: float | None = None
    group_column: str | None = None
    group_pattern: str | None = None
    groups: str | None = None
    cv_folds: int | None = None
    roi: str | None = None
    warm_start: tuple[str, ...] = ()
    ordered: bool | None = None
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def members(self) -> int:
        """Number of trials to build the ensemble from."""
        return self.top_k or self.space.top_k

    @property
    def views(self) -> str:
        """Test-time augmentation, a key of ``VIEWS``."""
        return self.tta or self.space.tta

    @property
    def trials(self) -> int:
        """Number of trials."""
        return self.num_samples or self.space.num_samples

    @property
    def known_gpus(self) -> float | None:
        """GPUs per trial; None for the default, and for ``auto``: both use at most one."""
        return None if self.gpus_per_trial == "auto" else self.gpus_per_trial

    @property
    def _ordered(self) -> Ordered:
        """The order of the classes: the space's, unless ``--ordered`` or ``--unordered`` contradicts it."""
        if self.ordered is None or (self.ordered and self.space.ordered):
            return self.space.ordered
        return self.ordered

    def check(self) -> None:
        """Raise UserError if the space's task does not support an option, or if options contradict each other."""
        if self.views not in VIEWS:
            raise UserError(f"tta must be one of {', '.join(VIEWS)}, but {self.space.name} has {self.views!r}")
        is_set = {
            "--cv-folds": bool(self.cv_folds),
            "--tta": self.views != "none",
            "--roi": bool(self.roi),
            "--ordered": bool(self._ordered),
        }
        RESULTS[self.space.task].check_decisions(self.decisions, self.space.healthy)
        for option in TASKS[self.space.task].unsupported_options:
            if is_set[option]:
                raise UserError(f"{option} is not available for a {self.space.task}, but {self.space.name} is one")
        gpus = self.known_gpus or 0
        if gpus > 1 and not float(gpus).is_integer():
            raise UserError(
                f"--gpus-per-trial above 1 must be a whole number, but got {gpus:g}: only trials with less than "
                "one GPU share one"
            )
        if self.gpu_memory is not None and self.gpus_per_trial == 0:
            raise UserError("--gpu-memory needs a GPU per trial, but got --gpus-per-trial 0: omit one of the two")
        objective = self.objective or Objective(self.space.metric)
        if self.stop_when_converged and len(objective.names) > 1:
            raise UserError(f"--stop-when-converged needs a single --metric, but got {', '.join(objective.names)}")
        if LATENCY in objective.names and (self.gpus_per_trial == "auto" or 0 < gpus < 1):
            raise UserError(
                f"--metric {LATENCY} must be measured on a GPU that no other trial uses, but got --gpus-per-trial "
                f"{self.gpus_per_trial}: set it to 1"
            )

    def data_request(self) -> DataRequest:
        """Return the request for the data. Its ``roi`` is left out because the segmentation has yet to be fetched.

        Raises:
            UserError: The data's address or the grouping is invalid.
        """
        place = self.data or self.space.data
        check_address("--data", place)
        return DataRequest(
            place=absolute("data", place),
            seed=self.seed,
            split=self.split,
            test_share=self.space.test_share,
            table=self.table,
            window=self.window,
            slicing=self.slicing,
            grouping=Grouping(
                self.group_threshold,
                self.group_column,
                self.group_pattern,
                self.space.group_pattern,
                self.groups and str(Path(self.groups).resolve()),
            ),
            healthy=self.space.healthy,
            ordered=self._ordered,
            skip_bad_images=self.skip_bad_images,
            folds=self.cv_folds,
        )

    def plan(self) -> Plan:
        """Return the settings that all trials share, with the space's defaults filled in."""
        return Plan(
            space=self.space,
            backbones=self.backbones or self.space.backbones,
            weights=absolute("weights", self.weights or self.space.weights),
            image_size=self.image_size or self.space.image_size,
            epochs=self.max_epochs or self.space.epochs,
            objective=self.objective or Objective(self.space.metric),
            pruning=self.pruning,
            seed=self.seed,
            folds=self.cv_folds,
        )


def absolute(option: str, value: str) -> str:
    """Return the value of an option as an absolute path if it is an existing path and not a keyword of the option."""
    if value in _KEYWORDS.get(option, ()) or not Path(value).exists():
        return value
    return str(Path(value).resolve())
