"""Cached outputs of the frozen stages, as tables to draw the batches of ``fit`` and ``tune`` from."""

import logging
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.core.data.batches import Table, resident
from trainables.core.data.dataset import Dataset
from trainables.core.data.splits.folds import POOL
from trainables.core.models.frozen_cache import CACHEABLE_VARIANTS, FrozenCache

logger = logging.getLogger("trainables")


class FrozenTables:
    """The tables of the epochs that freeze the same stages. They are computed on first use.

    So they may depend on weights that a resumed trial loads after this is built.

    Args:
        cache: Cache of the frozen stages; None if no stage is frozen, and then there are no tables.
        data: Data set with the splits ``fit`` and ``tune``.
        policy: Augmentation policy of the images of ``fit``.
        recomputed: Reason why the outputs cannot be cached for ``fit``; None if the policy decides it.
        device: Device of the model.
    """

    def __init__(
        self, cache: FrozenCache | None, data: Dataset, policy: str, recomputed: str | None, device: torch.device
    ):
        self._cache, self._data, self._policy, self._device = cache, data, policy, device
        if recomputed is None and policy not in CACHEABLE_VARIANTS:
            recomputed = f"augmentation {policy}"
        self._recomputed = recomputed
        self._pool = data.splits.get(POOL)  # the images of all folds, cached together so that folds share them

    @cached_property
    def fit(self) -> Table | None:
        """The outputs for ``fit`` by variant, or None if they are not cached."""
        if self._recomputed is not None:
            if self._cache is not None:
                logger.info("%s: the frozen stages are recomputed for every training image", self._recomputed)
            return None
        return self._table(self._data.splits["fit"], self._policy)

    @cached_property
    def tune(self) -> Table | None:
        """The outputs for ``tune``, or None if they are not cached."""
        if self._pool is not None and self._policy == "none" and self._recomputed is None:
            return self.fit  # the same rows
        return self._table(self._data.splits["tune"], "none")

    def rows(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
        """Return the rows of images in their table, and the table's number of rows per variant."""
        if self._pool is None:
            return np.arange(len(indices)), len(indices)
        return np.searchsorted(self._pool, indices), len(self._pool)

    def _table(self, indices: NDArray[np.int64], policy: str) -> Table | None:
        shared = indices if self._pool is None else self._pool
        table = None if self._cache is None else self._cache.table(shared, CACHEABLE_VARIANTS[policy])
        return None if table is None else resident(table, self._device)
