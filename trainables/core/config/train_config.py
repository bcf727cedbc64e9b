"""The keys that all tasks share, and the parsing of untyped input: bad keys or values raise."""

import dataclasses
import difflib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from trainables.core.config.registry_names import AUGMENTATIONS, DEVICES, NORMALIZE, OPTIMIZERS, PRECISIONS, SCHEDULES
from trainables.core.config.rule import Rule, setting
from trainables.core.errors import ConfigError
from trainables.core.plural import plural

DEFAULT_TASK = "classification"
# The configuration of each task, filled by the subclasses of ``TrainConfig`` with a ``task``.
CONFIGS: dict[str, type["TrainConfig"]] = {}


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

    def __init_subclass__(cls) -> None:
        """Register the configuration of a task."""
        super().__init_subclass__()
        if "task" in vars(cls):
            CONFIGS[cls.task] = cls

    @staticmethod
    def from_dict(raw: Mapping[str, Any]) -> "TrainConfig":
        """Parse a plain dict.

        Args:
            raw: Key to value. Every key must be known, in range, and read under the other choices in ``raw``. ``task``
                selects the set of keys; the default is a classification.

        Raises:
            ConfigError: With the rule, the value and, for an unknown key, the nearest known one.
        """
        task = raw.get("task", DEFAULT_TASK)
        if not isinstance(task, str) or task not in CONFIGS:
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
        completed = cls._completed({key: rules[key].parse(key, value) for key, value in raw.items()})
        config = cls(**completed)
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
    def _completed(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Add defaults that depend on other keys to the parsed values."""
        return given

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
        """Return the configuration with half the batch and twice the accumulation, which needs less memory.

        The gradients stay the same, but batch norm and Dice losses see half of the images at a time, and mixup and
        cutmix pair images within the halves. None if the batch cannot be halved: it is odd, or a head with batch norm
        would see single images.
        """
        try:
            return self._divided(2)
        except ConfigError:
            return None

    def for_devices(self, count: int, most: int | None = None) -> Self:
        """Divide the batches until each device gets equally many of them in every optimizer step.

        The gradients stay the same, because ``accumulate_steps`` grows as ``batch_size`` falls; but batch norm and Dice
        losses see fewer images at a time.

        Args:
            count: Number of devices that train together, from 1.
            most: Largest batch that fits into the memory of a device; None if that is not known.

        Raises:
            ConfigError: The batch cannot be divided.
        """
        unit = count // math.gcd(count, self.accumulate_steps)  # the number of parts is a multiple of it
        least = math.ceil(self.batch_size / most) if most else 1
        divisors = (n for n in range(unit, self.batch_size + 1, unit) if n >= least and self.batch_size % n == 0)
        parts = next(divisors, unit)
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


def _check_read(key: str, rule: Rule, config: TrainConfig) -> None:
    if rule.read_when is None:
        return
    selector, readers = rule.read_when
    chosen = getattr(config, selector)
    if chosen not in readers:
        raise ConfigError(
            f"{key} is only read when {selector} is {' or '.join(readers)}, but {selector} is {chosen!r}: leave it out"
        )
