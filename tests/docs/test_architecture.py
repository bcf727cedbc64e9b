"""The architecture page names every room, and functions that exist."""

import ast
import re

import pytest

from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "explanation" / "architecture.md").read_text()
MAP = PAGE.split("```")[1]
PACKAGES = ("analysis", "search_spaces", "trainables", "tuning")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_is_on_the_map(package):
    rooms = {file.parent.name for file in (ROOT / package).rglob("__init__.py")}
    assert {room for room in rooms if not re.search(rf"\b{room}/", MAP)} == set()


def test_what_the_page_says_to_open_is_there():
    named = re.findall(r"`([\w/]+\.py)`: `(\w+)`", PAGE)
    assert len(named) > 10
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text())
        defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        assert name in defined, f"{path} does not define {name}"
