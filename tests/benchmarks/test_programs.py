"""Every benchmark can be imported, so that ``python -m benchmarks`` does not fail halfway."""

import importlib
from pathlib import Path

import pytest

import benchmarks
from benchmarks.__main__ import PROGRAMS

MODULES = sorted(file.stem for file in Path(benchmarks.__file__).parent.glob("*.py") if not file.stem.startswith("__"))


@pytest.mark.parametrize("name", [name for name in MODULES if name != "plain_search"])  # a script, run by its path
def test_a_benchmark_can_be_imported(name):
    importlib.import_module(f"benchmarks.{name}")


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_programs_exist(name):
    assert name in MODULES
