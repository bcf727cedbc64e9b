"""Rules of a configuration's keys: types, ranges and choices."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from trainables.core.errors import ConfigError


@dataclass(frozen=True)
class Rule:
    """Constraint on one key: its type, a range or a list of choices, and when the key is read at all.

    An ``optional`` key may be None.
    """

    type: type
    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    choices: tuple[str, ...] = ()
    read_when: tuple[str, tuple[str, ...]] | None = None
    optional: bool = False

    def parse(self, key: str, value: Any) -> Any:
        """Return ``value`` as this rule's type, or raise ConfigError with the rule and the value."""
        if self.optional and value is None:
            return None
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
        given = [f"{sign} {bound:g}" for sign, bound in bounds if math.isfinite(bound)]
        unbounded = [] if math.isfinite(min(self.high, self.below)) else ["finite"]
        return " and ".join(given + unbounded)


def setting(type_: type, default: Any = dataclasses.MISSING, **rule: Any) -> Any:
    """Return a field of a configuration with its ``Rule``."""
    return dataclasses.field(default=default, metadata={"rule": Rule(type_, **rule)})
