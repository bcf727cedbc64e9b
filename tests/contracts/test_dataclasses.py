"""No dataclass compares arrays: ``==`` of two arrays is an array, which has no truth value, so it would raise."""

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import optuna
import pytest
import torch

import analysis
import search_spaces
import trainables
import tuning
from analysis.statistics.resampling import Sample

ARRAYS = (np.ndarray, torch.Tensor)


def dataclasses_of(package: Any) -> Iterator[type]:
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        for _, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if dataclasses.is_dataclass(kind) and kind.__module__ == module.name:
                yield kind


def compared_types(kind: Any, seen: frozenset[Any] = frozenset()) -> Iterator[type]:
    """Yield every type whose values ``==`` compares in an annotation, through containers and dataclasses."""
    origin = get_origin(kind) or kind
    if isinstance(origin, type):
        yield origin
    for argument in get_args(kind):
        yield from compared_types(argument, seen)
    if dataclasses.is_dataclass(origin) and "__eq__" in vars(origin) and origin not in seen:
        hints = get_type_hints(origin, localns={"optuna": optuna})
        for field in dataclasses.fields(origin):
            if field.compare:
                yield from compared_types(hints[field.name], seen | {origin})


# takes up to 10 s: it imports every module
@pytest.mark.parametrize("package", [trainables, analysis, search_spaces, tuning], ids=lambda package: package.__name__)
def test_no_dataclass_compares_arrays(package):
    found = list(dataclasses_of(package))
    assert found
    comparing = [kind for kind in found if any(issubclass(compared, ARRAYS) for compared in compared_types(kind))]
    assert comparing == []


def test_samples_can_be_compared():
    first, second = (Sample(np.arange(3), np.arange(3), ("a", "b", "c"), "accuracy") for _ in range(2))
    assert first == first
    assert first != second
    assert len({first, second}) == 2
