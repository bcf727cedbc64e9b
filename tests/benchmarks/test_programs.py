"""Every benchmark can be imported, so that ``python -m benchmarks`` does not fail halfway."""

import importlib
from pathlib import Path

import pytest

import benchmarks
from benchmarks.__main__ import PROGRAMS

FOLDER = Path(benchmarks.__file__).parent
FILES = sorted(file.relative_to(FOLDER).with_suffix("") for file in FOLDER.rglob("*.py"))
MODULES = [".".join(file.parts) for file in FILES if file.stem not in ("__init__", "__main__")]
# A script, run by its path, and the programs of the environments with the peers' libraries.
SCRIPTS = ("driver.plain_search", "curves.peers.neps_peer", "curves.peers.syne_tune_peer", "curves.peers.serve")


@pytest.mark.parametrize("name", [name for name in MODULES if name not in SCRIPTS])
def test_a_benchmark_can_be_imported(name):
    importlib.import_module(f"benchmarks.{name}")


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_programs_exist(name):
    assert name in MODULES
