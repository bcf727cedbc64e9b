"""Training configuration. Untyped input is parsed once, and bad keys or values raise."""

import dataclasses
import difflib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from trainables.core.errors import ConfigError

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
AUGMENTATIONS = ("none", "flip", "medical", "strong", "flips_and_rotation")
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
_ATTENTION_DROPOUT = 0.4  # head_dropout of the attention head by default


@dataclass(frozen=True)
class Rule:
    """Constraint on one key: its type, a closed range or a list of choices, and when the key is read at all."""

    type: type
    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    choices: tuple[str, ...] = ()
    read_when: tuple[str, tuple[str, ...]] | None = None

    def parse(self, key: str, value: Any) -> Any:
        """Return ``value`` as this rule's type, or raise ConfigError with the rule and the value."""
        if self.type is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, self.type) or (isinstance(value, bool) and self.type is not bool):
            raise ConfigError(f"{key} must be a {self.type.__name__}, but got {value!r}")
        if self.choices and value not in self.choices:
            raise ConfigError(f"{key} must be one of {', '.join(self.choices)}, but got {value!r}")
        if isinstance(value, int | float) and not (self.low <= value <= self.high and self.above < value < self.below):
            raise ConfigError(f"{key} must be {self._range()}, but got {value!r}")
        return value

    def _range(self) -> str:
        bounds = [(">=", self.low), (">", self.above), ("<=", self.high), ("<", self.below)]
        return " and ".join(f"{sign} {bound:g}" for sign, bound in bounds if math.isfinite(bound)) or "a finite number"


def _key(type_: type, default: Any = dataclasses.MISSING, **rule: Any) -> Any:
    return dataclasses.field(default=default, metadata={"rule": Rule(type_, **rule)})


@dataclass(frozen=True, kw_only=True)
class TrainConfig(ABC):
    """One complete training run, with the keys that all tasks share. Untyped input enters only through ``from_dict``.

    A key with ``read_when`` may only be given if it is read. ``momentum`` together with ``optimizer="adam"`` raises,
    because silently dropping a searched value would falsify the search.
    """

    task: ClassVar[str]
    # Model. `weights` is "pretrained", "random", or a folder of <backbone>.safetensors.
    backbone: str = _key(str)
    weights: str = _key(str)
    image_size: int = _key(int, low=16, high=2048)
    # Optimisation. `warmup_ratio` is a share of all steps. `clip_norm` 0 disables clipping.
    optimizer: str = _key(str, choices=OPTIMIZERS)
    lr: float = _key(float, above=0, high=10)
    weight_decay: float = _key(float, 0.0, low=0, high=1)
    momentum: float = _key(float, 0.9, low=0, below=1, read_when=("optimizer", ("sgd",)))
    nesterov: bool = _key(bool, False, read_when=("optimizer", ("sgd",)))
    layer_decay: float = _key(float, 1.0, above=0, high=1)
    schedule: str = _key(str, "constant", choices=SCHEDULES)
    warmup_ratio: float = _key(float, 0.0, low=0, high=0.5)
    decay_rate: float = _key(float, 0.5, above=0, high=1, read_when=("schedule", ("step", "exponential")))
    decay_epochs: float = _key(float, 1.0, above=0, read_when=("schedule", ("step", "exponential")))
    cycle_epochs: float = _key(float, 4.0, above=0, read_when=("schedule", ("cyclic",)))
    clip_norm: float = _key(float, 0.0, low=0, below=math.inf)
    batch_size: int = _key(int, low=1, high=65536)
    accumulate_steps: int = _key(int, 1, low=1, high=4096)
    epochs: int = _key(int, low=1, high=100_000)
    # Data and device. `normalize` is "imagenet" (what the weights were trained with) or "dataset" (mean and standard
    # deviation of the training images). `precision` "auto" is bf16 or fp16 on a GPU and fp32 on the CPU.
    augmentation: str = _key(str, "none", choices=AUGMENTATIONS)
    normalize: str = _key(str, "imagenet", choices=NORMALIZE)
    precision: str = _key(str, "auto", choices=PRECISIONS)
    device: str = _key(str, "auto", choices=DEVICES)
    seed: int = _key(int, 0, low=0, high=2**32 - 1)

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
                near = difflib.get_close_matches(str(key), rules, n=1)
                hint = f" (did you mean {near[0]!r}?)" if near else ""
                raise ConfigError(f"unknown key {key!r}{hint}")
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

    def with_half_batch(self) -> Self | None:
        """Return the configuration with half the batch and twice the accumulation: the same gradients in less memory.

        None if the batch cannot be halved: it is odd, or a network with batch norm would see single images.
        """
        if self.batch_size % 2:
            return None
        halves = {"batch_size": self.batch_size // 2, "accumulate_steps": self.accumulate_steps * 2}
        try:
            return self._parse({**self._read_keys(), **halves})
        except ConfigError:
            return None

    def _read_keys(self) -> dict[str, Any]:
        rules = ((field.name, field.metadata["rule"].read_when) for field in dataclasses.fields(self))
        return {key: getattr(self, key) for key, when in rules if when is None or getattr(self, when[0]) in when[1]}

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dict of the task and all keys that are read, which ``from_dict`` parses to an equal one."""
        return {"task": self.task, **self._read_keys()}


@dataclass(frozen=True, kw_only=True)
class HeadConfig(TrainConfig):
    """The keys of tasks with a prediction for whole images, made by a head on a backbone."""

    freeze_depth: int = _key(int, 0, low=0)
    head: str = _key(str, choices=HEADS)
    head_dropout: float = _key(float, 0.0, low=0, below=1)
    hidden_dropout: float = _key(float, 0.0, low=0, below=1, read_when=("head", ("mlp",)))
    head_width: int = _key(int, 512, low=8, high=8192, read_when=("head", ("mlp", "residual", "attention")))

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

    @property
    def frozen(self) -> tuple[str, ...]:
        """Name prefixes of the frozen stages of the backbone."""
        return tuple(f"backbone.stages.{stage}." for stage in range(self.freeze_depth))


@dataclass(frozen=True, kw_only=True)
class ClassificationConfig(HeadConfig):
    """One class per image."""

    task: ClassVar[str] = "classification"
    # Imbalance and the loss.
    class_weights: str = _key(str, "none", choices=CLASS_WEIGHTS)
    sampler: str = _key(str, "shuffle", choices=SAMPLERS)
    loss: str = _key(str, "cross_entropy", choices=LOSSES)
    label_smoothing: float = _key(float, 0.0, low=0, below=1, read_when=("loss", ("cross_entropy",)))
    focal_gamma: float = _key(float, 2.0, low=0, high=10, read_when=("loss", ("focal",)))

    def to_dict(self) -> dict[str, Any]:
        """Return the dict of ``TrainConfig.to_dict`` without the task, which is the default."""
        return self._read_keys()


@dataclass(frozen=True, kw_only=True)
class MultiLabelConfig(HeadConfig):
    """Any number of labels per image."""

    task: ClassVar[str] = "multi_label"
    # Imbalance and the loss. `margin` is what the asymmetric loss subtracts from the probability of an absent label.
    pos_weight: str = _key(str, "none", choices=POSITIVE_WEIGHTS, read_when=("loss", ("bce", "focal")))
    sampler: str = _key(str, "shuffle", choices=SAMPLERS)
    loss: str = _key(str, "bce", choices=LABEL_LOSSES)
    focal_gamma: float = _key(float, 2.0, low=0, high=10, read_when=("loss", ("focal",)))
    gamma_positive: float = _key(float, 0.0, low=0, high=10, read_when=("loss", ("asymmetric",)))
    gamma_negative: float = _key(float, 4.0, low=0, high=10, read_when=("loss", ("asymmetric",)))
    margin: float = _key(float, 0.05, low=0, below=0.5, read_when=("loss", ("asymmetric",)))


@dataclass(frozen=True, kw_only=True)
class SegmentationConfig(TrainConfig):
    """One class per pixel. The backbone is the encoder of the architecture."""

    task: ClassVar[str] = "segmentation"
    architecture: str = _key(str, choices=ARCHITECTURES)
    freeze_encoder: bool = _key(bool, False)
    freeze_decoder: bool = _key(bool, False)
    freeze_head: bool = _key(bool, False)
    loss: str = _key(str, "bce+dice", choices=MASK_LOSSES)
    focal_gamma: float = _key(float, 2.0, low=0, high=10, read_when=("loss", ("focal", "focal+dice")))

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
