"""Training configuration. Untyped input is parsed once, and bad keys or values raise."""

import dataclasses
import difflib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from trainables.core.config_rule import Rule, setting
from trainables.core.errors import ConfigError
from trainables.core.plural import plural

# The names that the registries hold. They stand here too so that parsing a configuration imports neither torch nor
# albumentations; tests/contracts/test_config_names.py checks that both agree.
ARCHITECTURES = (
    "unet",
    "unetplusplus",
    "manet",
    "linknet",
    "fpn",
    "pspnet",
    "pan",
    "deeplabv3",
    "deeplabv3plus",
    "upernet",
    "segformer",
    "detr",
)
AUGMENTATIONS = ("none", "flip", "medical", "strong", "flips_and_rotation", "trivial_augment", "rand_augment")
CLASS_WEIGHTS = ("none", "balanced", "sqrt", "effective", "boosted", "frequency")
HEADS = ("linear", "mlp", "residual", "attention")
LABEL_LOSSES = ("bce", "focal", "asymmetric")
ORDINAL = "ordinal"
LOSSES = ("cross_entropy", "focal", ORDINAL)
MASK_LOSSES = ("bce", "dice", "focal", "bce+dice", "focal+dice")
OPTIMIZERS = ("sgd", "adam", "adamw")
SAMPLERS = ("shuffle", "weighted", "sqrt")
SCHEDULES = ("constant", "cosine", "step", "exponential", "cyclic")
POSITIVE_WEIGHTS = ("none", "balanced", "sqrt")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
DEVICES = ("auto", "cpu", "cuda")
NORMALIZE = ("imagenet", "dataset")
SCRATCH = "scratch_cnn"  # the backbone that has no pretrained weights
_ATTENTION_DROPOUT = 0.4  # head_dropout of the attention head by default


@dataclass(frozen=True, kw_only=True)
class TrainConfig(ABC):
    """One complete training run, with the keys that all tasks share. Untyped input enters only through ``from_dict``.

    A key with ``read_when`` may only be given if it is read. ``momentum`` together with ``optimizer="adam"`` raises,
    because silently dropping a searched value would falsify the search.
    """

    task: ClassVar[str]
    # Model. `weights` is "pretrained", "random", or a folder of <backbone>.safetensors.
    backbone: str = setting(str)
    weights: str = setting(str)
    image_size: int = setting(int, low=16, high=2048)
    # Optimisation. `warmup_ratio` is a share of all steps. `clip_norm` 0 disables clipping, `ema_decay` 0 averaging.
    optimizer: str = setting(str, choices=OPTIMIZERS)
    lr: float = setting(float, above=0, high=10)
    weight_decay: float = setting(float, 0.0, low=0, high=1)
    momentum: float = setting(float, 0.9, low=0, below=1, read_when=("optimizer", ("sgd",)))
    nesterov: bool = setting(bool, False, read_when=("optimizer", ("sgd",)))
    layer_decay: float = setting(float, 1.0, above=0, high=1)
    schedule: str = setting(str, "constant", choices=SCHEDULES)
    warmup_ratio: float = setting(float, 0.0, low=0, high=0.5)
    decay_rate: float = setting(float, 0.5, above=0, high=1, read_when=("schedule", ("step", "exponential")))
    decay_epochs: float = setting(float, 1.0, above=0, read_when=("schedule", ("step", "exponential")))
    cycle_epochs: float = setting(float, 4.0, above=0, read_when=("schedule", ("cyclic",)))
    clip_norm: float = setting(float, 0.0, low=0, below=math.inf)
    ema_decay: float = setting(float, 0.0, low=0, below=1)
    batch_size: int = setting(int, low=1, high=65536)
    accumulate_steps: int = setting(int, 1, low=1, high=4096)
    epochs: int = setting(int, low=1, high=100_000)
    # Data and device. `normalize` is "imagenet" (what the weights were trained with) or "dataset" (mean and standard
    # deviation of the training images). `precision` "auto" is bf16 or fp16 on a GPU and fp32 on the CPU.
    augmentation: str = setting(str, "none", choices=AUGMENTATIONS)
    rand_augment_ops: int = setting(int, 2, low=1, high=8, read_when=("augmentation", ("rand_augment",)))
    rand_augment_magnitude: int = setting(int, 9, low=0, high=30, read_when=("augmentation", ("rand_augment",)))
    normalize: str = setting(str, "imagenet", choices=NORMALIZE)
    precision: str = setting(str, "auto", choices=PRECISIONS)
    device: str = setting(str, "auto", choices=DEVICES)
    seed: int = setting(int, 0, low=0, high=2**32 - 1)

    @staticmethod
    def from_dict(raw: Mapping[str, Any]) -> "TrainConfig":
        """Parse a plain dict.

        Args:
            raw: Key to value. Every key must be known, in range, and read by the other choices in ``raw``. ``task``
                selects the set of keys; the default is a classification.

        Raises:
            ConfigError: With the rule, the value and, for an unknown key, the nearest known one.
        """
        task = raw.get("task", ClassificationConfig.task)
        if task not in CONFIGS:
            raise ConfigError(f"task must be one of {', '.join(CONFIGS)}, but got {task!r}")
        return CONFIGS[task]._parse({key: value for key, value in raw.items() if key != "task"})

    @classmethod
    def _parse(cls, raw: Mapping[str, Any]) -> Self:
        rules: dict[str, Rule] = {field.name: field.metadata["rule"] for field in dataclasses.fields(cls)}
        for key in raw:
            if key not in rules:
                raise ConfigError(f"unknown key {key!r}{cls._hint(str(key))}")
        missing = [
            field.name
            for field in dataclasses.fields(cls)
            if field.default is dataclasses.MISSING and field.name not in raw
        ]
        if missing:
            raise ConfigError(f"missing keys: {', '.join(missing)}")
        completed = cls._completed(raw)
        config = cls(**{key: rules[key].parse(key, value) for key, value in completed.items()})
        for key in completed:
            _check_read(key, rules[key], config)
        config._check()
        return config

    @classmethod
    def _hint(cls, unknown: str) -> str:
        """Name the tasks that have an unknown key, else the nearest key of this one; empty if there is neither."""
        tasks = [
            task for task, kind in CONFIGS.items() if unknown in (field.name for field in dataclasses.fields(kind))
        ]
        if tasks:
            return f" for the task {cls.task}: only {' and '.join(tasks)} can use it, so leave it out"
        near = difflib.get_close_matches(unknown, [field.name for field in dataclasses.fields(cls)], n=1)
        return f" (did you mean {near[0]!r}?)" if near else ""

    @classmethod
    def _completed(cls, raw: Mapping[str, Any]) -> Mapping[str, Any]:
        """Fill in defaults that depend on other keys."""
        return raw

    def _check(self) -> None:
        """Raise ConfigError for keys that are valid one by one but not together."""
        if self.nesterov and self.momentum == 0:
            raise ConfigError("nesterov needs momentum > 0, but got momentum=0.0")

    @property
    @abstractmethod
    def frozen(self) -> tuple[str, ...]:
        """Name prefixes of the model's tensors that training never changes."""

    @property
    def schedule_start(self) -> int:
        """Number of epochs at the constant base rate before the warm-up and the schedule."""
        return 0

    def with_half_batch(self) -> Self | None:
        """Return the configuration with half the batch and twice the accumulation: the same gradients in less memory.

        None if the batch cannot be halved: it is odd, or a network with batch norm would see single images. Mixup and
        cutmix then pair images within the halves.
        """
        try:
            return self._divided(2)
        except ConfigError:
            return None

    def for_devices(self, count: int) -> Self:
        """Return the configuration with so small batches that each device gets equally many in every optimizer step.

        The gradients stay the same: ``accumulate_steps`` grows as ``batch_size`` falls.

        Args:
            count: Number of devices that train together, from 1.

        Raises:
            ConfigError: The batch cannot be divided.
        """
        parts = count // math.gcd(count, self.accumulate_steps)
        try:
            return self if parts == 1 else self._divided(parts)
        except ConfigError as error:
            images = plural(self.batch_size * self.accumulate_steps, "image")
            raise ConfigError(
                f"{count} devices must share the {images} of an optimizer step, but {error}: use fewer devices"
            ) from error

    def _divided(self, parts: int) -> Self:
        """Divide the batch and multiply the accumulation, or raise ConfigError."""
        if self.batch_size % parts:
            raise ConfigError(f"batch_size={self.batch_size} is not divisible by {parts}")
        divided = {"batch_size": self.batch_size // parts, "accumulate_steps": self.accumulate_steps * parts}
        return self._parse({**self._read_keys(), **divided})

    def _read_keys(self) -> dict[str, Any]:
        rules = ((field.name, field.metadata["rule"].read_when) for field in dataclasses.fields(self))
        return {key: getattr(self, key) for key, when in rules if when is None or getattr(self, when[0]) in when[1]}

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dict of the task and all keys that are read, which ``from_dict`` parses to an equal one."""
        return {"task": self.task, **self._read_keys()}


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
    def _completed(cls, raw: Mapping[str, Any]) -> Mapping[str, Any]:
        if raw.get("head") == "attention":
            return {"head_dropout": _ATTENTION_DROPOUT, **raw}
        if raw.get("head") == "mlp":
            return {"hidden_dropout": raw.get("head_dropout", 0.0), **raw}
        return raw

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

    task: ClassVar[str] = "classification"
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


CONFIGS: dict[str, type[TrainConfig]] = {
    config.task: config for config in (ClassificationConfig, SegmentationConfig, MultiLabelConfig)
}


def _check_read(key: str, rule: Rule, config: TrainConfig) -> None:
    if rule.read_when is None:
        return
    selector, readers = rule.read_when
    chosen = getattr(config, selector)
    if chosen not in readers:
        raise ConfigError(
            f"{key} is only read when {selector} is {' or '.join(readers)}, but {selector} is {chosen!r}: leave it out"
        )
