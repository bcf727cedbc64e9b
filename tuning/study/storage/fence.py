"""The fence around a study: a driver that has lost its search can write nothing more to it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import optuna

from trainables.core.errors import UserError
from tuning.study.storage.optuna_internals import storage_of

# Called with the new holder's lease when a driver finds that it has lost its search.
OnLost = Callable[[Mapping[str, Any]], None]


class LostSearchError(UserError):
    """Another driver has taken the search over."""


@dataclass(frozen=True)
class Fence:
    """Comparison of a stored lease with this driver's.

    Attributes:
        token: Random token in this driver's lease.
        on_lost: Called if the stored lease has another token. A driver ends its process there.
    """

    token: str
    on_lost: OnLost

    def check(self, lease: Mapping[str, Any]) -> None:
        """Raise LostSearchError after calling ``on_lost``, unless this driver holds the lease."""
        if lease.get("token") != self.token:
            self.on_lost(lease)
            raise LostSearchError("another driver has taken over this search")


class Fenced:
    """A storage whose writes fail once its driver has lost the search.

    Attributes:
        fence: Function that raises LostSearchError if the driver has lost the search; None if it holds none.
    """

    fence: Callable[[], None] | None = None


def check_held(study: optuna.Study) -> None:
    """Raise LostSearchError if this driver held the study and another one has taken it over.

    Writes to the study are checked anyway. Call this before a write to another place, such as MLflow.
    """
    storage = storage_of(study)
    if isinstance(storage, Fenced) and storage.fence is not None:
        storage.fence()
