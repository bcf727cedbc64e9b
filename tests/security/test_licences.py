"""Licences that `make lint` refuses."""

import importlib.util
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("licences", Path(__file__).parents[2] / ".ci" / "licences.py")
licences = importlib.util.module_from_spec(spec)
spec.loader.exec_module(licences)


@pytest.mark.parametrize(
    ("said", "at_fault"),
    [
        ("GPL-3.0-or-later", True),
        ("MIT AND AGPL-3.0", True),
        ("GNU General Public License v2 (GPLv2)", True),
        ("GNU Affero General Public License v3", True),
        ("LGPL-3.0", False),
        ("GNU Library or Lesser General Public License (LGPL)", False),
        ("BSD-3-Clause AND GPL-3.0-or-later WITH GCC-exception-3.1", False),
        ("Apache-2.0", False),
    ],
)
def test_copyleft_is_told_apart(said, at_fault):
    assert bool(licences.COPYLEFT.search(said)) == at_fault


def test_the_tree_is_walked_to_its_leaves():
    found = {}
    licences.needed("mlflow", frozenset(), found)
    assert {"mlflow", "sqlalchemy", "typing-extensions"} <= found.keys()
    assert licences.licence(found["sqlalchemy"]).startswith("MIT")


def test_it_fails_for_one_package_at_fault(monkeypatch, capsys):
    monkeypatch.setattr(licences, "licence", lambda package: "GPLv3" if package.name == "torch" else "MIT")
    monkeypatch.setattr(licences, "PROJECT", "timm")
    assert licences.main() == 1
    assert "torch: GPLv3" in capsys.readouterr().out


def test_it_fails_for_a_package_that_is_not_there(monkeypatch, capsys):
    """Its licence cannot have been read: install the extras too."""
    there = licences.distribution

    def distribution(name):
        if name == "safetensors":
            raise licences.PackageNotFoundError(name)
        return there(name)

    monkeypatch.setattr(licences, "distribution", distribution)
    monkeypatch.setattr(licences, "PROJECT", "timm")
    assert licences.main() == 1
    assert "safetensors: it is not installed, so its licence cannot be read" in capsys.readouterr().out
