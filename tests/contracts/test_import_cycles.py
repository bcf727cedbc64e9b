"""Modules form no import cycle, not even inside a function or under ``TYPE_CHECKING``."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("analysis", "search_spaces", "trainables", "tuning")


def imports(root):
    """Return the modules that each module of the packages imports, at any depth of nesting."""
    files = {
        ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file
        for package in PACKAGES
        for file in (root / package).rglob("*.py")
    }
    graph = {}
    for module, file in files.items():
        named = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file} has a relative import, which this test does not resolve"
                named |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        graph[module] = (named & files.keys()) - {module}
    return graph


def test_there_is_no_import_cycle():
    graph = imports(ROOT)
    assert len(graph) > 150
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the modules of the cycle


def test_a_cycle_under_type_checking_is_found(tmp_path):
    for package in PACKAGES:
        (tmp_path / package).mkdir()
    (tmp_path / "tuning" / "a.py").write_text("from tuning import b\n")
    (tmp_path / "tuning" / "b.py").write_text("if TYPE_CHECKING:\n    from tuning.a import x\n")
    try:
        TopologicalSorter(imports(tmp_path)).prepare()
    except CycleError as error:
        assert {"tuning.a", "tuning.b"} <= set(error.args[1])
    else:
        raise AssertionError("the cycle was not found")
