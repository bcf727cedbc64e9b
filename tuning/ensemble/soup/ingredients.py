"""The trials whose weights can be averaged: those trained from the same weights, with the same head and input."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from analysis.trials import TrialRecord
from trainables.core.config import ORDINAL, SCRATCH, HeadConfig, TrainConfig
from trainables.core.errors import UserError

# Keys that all ingredients must share.
_SHARED = ("backbone", "weights", "image_size", "normalize")


@dataclass(frozen=True)
class Ingredients:
    """Trials whose weights can be averaged with each other.

    Attributes:
        trials: At least two trials, in the given order.
        left_out: Numbers of the other trials by the reason.
    """

    trials: tuple[TrialRecord, ...]
    left_out: dict[str, list[int]]

    def describe_left_out(self) -> str:
        """Return the trials that are left out, and why; "" if there are none."""
        return "; ".join(f"{_named(numbers)}: {reason}" for reason, numbers in self.left_out.items())


def find_ingredients(records: Sequence[TrialRecord]) -> Ingredients:
    """Return the best trial that another one can be averaged with, and all such others.

    Args:
        records: Classifiers, best first.

    Raises:
        UserError: No two trials can be averaged.
    """
    left_out: dict[str, list[int]] = {}
    families: dict[tuple[object, ...], list[TrialRecord]] = {}
    for record in records:
        config = TrainConfig.from_dict(record.config)
        assert isinstance(config, HeadConfig)
        reason = _reason_against(config)
        if reason:
            left_out.setdefault(reason, []).append(record.number)
        else:
            families.setdefault(_family(config), []).append(record)
    family = next((family for family, trials in families.items() if len(trials) > 1), None)
    for other, trials in families.items():
        if other != family:
            reason = _difference(other, family) if family else "no other trial like it"
            left_out.setdefault(reason, []).extend(record.number for record in trials)
    found = Ingredients(tuple(families.get(family, ())) if family else (), left_out)
    if family is None:
        why = found.describe_left_out() or "no trial has finished"
        raise UserError(
            "a soup needs two trials with one pretrained backbone, linear heads and the same input, but there are none "
            f"({why}): search such trials with tune-run --backbone NAME, or leave --soup out"
        )
    return found


def _reason_against(config: HeadConfig) -> str:
    """Return why a trial cannot be averaged with any other; "" if it can.

    Each trial has a seed of its own. The weights of a linear head may start anywhere, since its logits are linear in
    them. Hidden units that start from other random weights do not correspond to each other, so their average means
    nothing.
    """
    if config.weights == "random" or config.backbone == SCRATCH:
        return "its backbone starts from random weights, which differ between trials"
    if config.head != "linear":
        return f"its {config.head} head has hidden layers, which start from random weights that differ between trials"
    return ""


def _family(config: HeadConfig) -> tuple[object, ...]:
    """Return what trials must have in common; with the loss ``ordinal``, a head has other outputs."""
    return (*(getattr(config, key) for key in _SHARED), getattr(config, "loss", None) == ORDINAL)


def _difference(family: tuple[object, ...], chosen: tuple[object, ...]) -> str:
    *shared, is_ordinal = family
    for key, value, other in zip(_SHARED, shared, chosen, strict=False):
        if value != other:
            return f"its {key} is {value}, not {other}"
    return "its loss is ordinal" if is_ordinal else "its loss is not ordinal"


def _named(numbers: Iterable[int]) -> str:
    listed = sorted(numbers)
    return f"trial{'s' * (len(listed) > 1)} {', '.join(map(str, listed))}"
