"""What a user asks of a search, and what the space fills in."""

import math
from dataclasses import dataclass
from pathlib import Path

from search_spaces.space import SearchSpace
from trainables.core.data.splits.groups import Grouping
from trainables.core.errors import UserError
from trainables.core.metric_names import Objective
from trainables.core.serving.predict_classes import VIEWS
from tuning.search.data_request import DataRequest
from tuning.search.plan import Plan
from tuning.study.search_folder import check_address

HANG_S = 3600.0


@dataclass(frozen=True)
class Options:
    """What a user asked for; None leaves it to the space or the cluster."""

    space: SearchSpace
    data: str | None = None
    weights: str | None = None
    backbones: tuple[str, ...] = ()
    num_samples: int | None = None
    max_epochs: int | None = None
    image_size: int | None = None
    time_budget_s: float = math.inf
    objective: Objective | None = None
    pruning: bool = True
    top_k: int | None = None
    tta: str | None = None
    cpus_per_trial: float | None = None
    gpus_per_trial: float | None = None
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
    split: str = "grouped"
    group_threshold: float | None = None
    group_column: str | None = None
    group_pattern: str | None = None
    cv_folds: int | None = None
    roi: str | None = None

    @property
    def members(self) -> int:
        """How many trials the ensemble is built from."""
        return self.top_k or self.space.top_k

    @property
    def views(self) -> str:
        """What a model sees of an image when it is scored."""
        return self.tta or self.space.tta

    def check(self) -> None:
        """Raises UserError where an option and the space do not go together."""
        if self.views not in VIEWS:
            raise UserError(f"tta must be one of {', '.join(VIEWS)}, but {self.space.name} has {self.views!r}")
        if self.space.task == "segmentation":
            asked = {"--cv-folds": self.cv_folds, "--tta": self.views != "none", "--roi": self.roi}
            for option, given in asked.items():
                if given:
                    raise UserError(f"{option} is for classifications, but {self.space.name} is a segmentation")

    def data_request(self) -> DataRequest:
        """What the data is prepared from, but for the segmentation of ``roi``, which is to be fetched.

        Raises:
            UserError: The place or the grouping cannot be.
        """
        place = self.data or self.space.data
        check_address("--data", place)
        return DataRequest(
            place=str(Path(place).resolve()) if Path(place).exists() else place,
            seed=self.seed,
            split=self.split,
            test_share=self.space.test_share,
            grouping=Grouping(self.group_threshold, self.group_column, self.group_pattern, self.space.group_pattern),
            healthy=self.space.healthy,
            skip_bad_images=self.skip_bad_images,
            folds=self.cv_folds,
        )

    def plan(self) -> Plan:
        """The search's plan, the space's defaults filled in."""
        weights = self.weights or self.space.weights
        return Plan(
            space=self.space,
            backbones=self.backbones or self.space.backbones,
            weights=str(Path(weights).resolve()) if Path(weights).is_dir() else weights,
            image_size=self.image_size or self.space.image_size,
            epochs=self.max_epochs or self.space.epochs,
            objective=self.objective or Objective(self.space.metric),
            pruning=self.pruning,
            seed=self.seed,
            folds=self.cv_folds,
        )
