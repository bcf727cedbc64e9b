"""The configuration of each task. A new task is one more subclass."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from trainables.core.config.registry_names import (
    ARCHITECTURES,
    CLASS_WEIGHTS,
    HEADS,
    LABEL_LOSSES,
    LOSSES,
    MASK_LOSSES,
    POSITIVE_WEIGHTS,
    SAMPLERS,
    SCRATCH,
)
from trainables.core.config.rule import setting
from trainables.core.config.train_config import DEFAULT_TASK, TrainConfig
from trainables.core.errors import ConfigError

_ATTENTION_DROPOUT = 0.4  # head_dropout of the attention head by default


@dataclass(frozen=True, kw_only=True)
class HeadConfig(TrainConfig):
    """The keys of tasks with a prediction for whole images, made by a head on a backbone."""

    # The backbone. `drop_path_rate` None keeps the architecture's own.
    freeze_depth: int = setting(int, 0, low=0)
    head_epochs: int = setting(int, 0, low=0)
    l2_sp: float = setting(float, 0.0, low=0, high=1000)
    lora_rank: int = setting(int, 0, low=0, high=1024)
    drop_path_rate: float | None = setting(float, None, low=0, below=1, optional=True)
    # The head.
    head: str = setting(str, choices=HEADS)
    head_dropout: float = setting(float, 0.0, low=0, below=1)
    hidden_dropout: float = setting(float, 0.0, low=0, below=1, read_when=("head", ("mlp",)))
    head_width: int = setting(int, 512, low=8, high=8192, read_when=("head", ("mlp", "residual", "attention")))
    # Regularisation by the images. 0 disables each.
    mixup_alpha: float = setting(float, 0.0, low=0, high=10)
    cutmix_alpha: float = setting(float, 0.0, low=0, high=10)
    random_erasing: float = setting(float, 0.0, low=0, high=1)

    @classmethod
    def _completed(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        if given["head"] == "attention":
            return {"head_dropout": _ATTENTION_DROPOUT, **given}
        if given["head"] == "mlp":
            return {"hidden_dropout": given.get("head_dropout", 0.0), **given}
        return given

    def _check(self) -> None:
        super()._check()
        if self.batch_size == 1 and self.head in ("residual", "attention"):
            raise ConfigError(f"the {self.head} head has batch norm and needs batch_size > 1, but got batch_size=1")
        if self.batch_size == 1 and self.mixes:
            raise ConfigError("mixup_alpha and cutmix_alpha need batch_size > 1, but got batch_size=1")
        if self.head_epochs >= self.epochs:
            raise ConfigError(
                f"head_epochs must be less than epochs, but got head_epochs={self.head_epochs} and "
                f"epochs={self.epochs}: to train only the head, set freeze_depth to the number of stages"
            )
        for key in ("l2_sp", "lora_rank"):
            if getattr(self, key) and (self.weights == "random" or self.backbone == SCRATCH):
                raise ConfigError(
                    f"{key} needs pretrained weights, but backbone {self.backbone} has random ones: leave {key} out"
                )
        if self.l2_sp and self.lora_rank:
            raise ConfigError("l2_sp pulls weights that lora_rank does not train: leave one of them out")
        if self.l2_sp * self.lr > 1:
            raise ConfigError(f"l2_sp * lr must be at most 1, but got l2_sp={self.l2_sp:g} and lr={self.lr:g}")

    @property
    def mixes(self) -> bool:
        """True if the images of a batch are mixed."""
        return self.mixup_alpha > 0 or self.cutmix_alpha > 0

    @property
    def schedule_start(self) -> int:
        """Number of epochs that train only the head, at the constant base rate."""
        return self.head_epochs

    @property
    def frozen(self) -> tuple[str, ...]:
        """Name prefixes of the frozen stages of the backbone."""
        return tuple(f"backbone.stages.{stage}." for stage in range(self.freeze_depth))


@dataclass(frozen=True, kw_only=True)
class ClassificationConfig(HeadConfig):
    """One class per image."""

    task: ClassVar[str] = DEFAULT_TASK
    # Imbalance and the loss.
    class_weights: str = setting(str, "none", choices=CLASS_WEIGHTS)
    sampler: str = setting(str, "shuffle", choices=SAMPLERS)
    loss: str = setting(str, "cross_entropy", choices=LOSSES)
    label_smoothing: float = setting(float, 0.0, low=0, below=1, read_when=("loss", ("cross_entropy",)))
    focal_gamma: float = setting(float, 2.0, low=0, high=10, read_when=("loss", ("focal",)))

    def to_dict(self) -> dict[str, Any]:
        """Return the dict of ``TrainConfig.to_dict`` without the task, which is the default."""
        return self._read_keys()


@dataclass(frozen=True, kw_only=True)
class SegmentationConfig(TrainConfig):
    """One class per pixel. The backbone is the encoder of the architecture."""

    task: ClassVar[str] = "segmentation"
    architecture: str = setting(str, choices=ARCHITECTURES)
    freeze_encoder: bool = setting(bool, False)
    freeze_decoder: bool = setting(bool, False)
    freeze_head: bool = setting(bool, False)
    loss: str = setting(str, "bce+dice", choices=MASK_LOSSES)
    focal_gamma: float = setting(float, 2.0, low=0, high=10, read_when=("loss", ("focal", "focal+dice")))

    def _check(self) -> None:
        super()._check()
        if self.batch_size == 1:
            raise ConfigError("segmentation networks have batch norm and need batch_size > 1, but got batch_size=1")
        if self.freeze_encoder and self.freeze_decoder and self.freeze_head:
            raise ConfigError("freeze_encoder, freeze_decoder and freeze_head are all true: nothing would be trained")

    @property
    def frozen(self) -> tuple[str, ...]:
        """Name prefixes of the frozen parts among encoder, decoder and head."""
        parts = {"encoder": self.freeze_encoder, "decoder": self.freeze_decoder, "head": self.freeze_head}
        return tuple(f"{part}." for part, is_frozen in parts.items() if is_frozen)


@dataclass(frozen=True, kw_only=True)
class MultiLabelConfig(HeadConfig):
    """Any number of labels per image."""

    task: ClassVar[str] = "multi_label"
    # Imbalance and the loss. `margin` is what the asymmetric loss subtracts from the probability of an absent label.
    pos_weight: str = setting(str, "none", choices=POSITIVE_WEIGHTS, read_when=("loss", ("bce", "focal")))
    sampler: str = setting(str, "shuffle", choices=SAMPLERS)
    loss: str = setting(str, "bce", choices=LABEL_LOSSES)
    focal_gamma: float = setting(float, 2.0, low=0, high=10, read_when=("loss", ("focal",)))
    gamma_positive: float = setting(float, 0.0, low=0, high=10, read_when=("loss", ("asymmetric",)))
    gamma_negative: float = setting(float, 4.0, low=0, high=10, read_when=("loss", ("asymmetric",)))
    margin: float = setting(float, 0.05, low=0, below=0.5, read_when=("loss", ("asymmetric",)))
