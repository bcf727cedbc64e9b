"""The table of cutters against the installed libraries."""

import importlib

import pytest

from trainables.core.models.backbones.cutters import CUTTERS


@pytest.mark.parametrize("kind", CUTTERS)
def test_the_class_of_a_cutter_exists(kind: str) -> None:
    """A class that a library has moved would silently be grouped instead of cut."""
    module, name = kind.rsplit(".", 1)
    library = importlib.import_module(kind.split(".")[0])
    found = getattr(importlib.import_module(module), name, None)
    assert found is not None and f"{found.__module__}.{found.__qualname__}" == kind, (
        f"{library.__name__} {library.__version__} has no {kind}: adapt CUTTERS in backbones/cutters.py"
    )
