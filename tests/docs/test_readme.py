"""The README stays short, and states what holds."""

import re

from tests.docs.pages import ROOT

README = (ROOT / "README.md").read_text()


def test_the_readme_has_at_most_200_lines():
    assert len(README.splitlines()) <= 200


def test_make_targets_that_pages_name_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for line in re.findall(r"`make ([a-z][\w -]*)`|^make (\w[\w-]*)", page.read_text(), flags=re.M):
            assert set("".join(line).split()) <= targets


def test_paths_that_pages_name_exist():
    """Paths in code spans that begin with a folder of the repository, but for patterns and names in capitals."""
    tops = ("analysis", "benchmarks", "deploy", "docs", "search_spaces", "tests", "trainables", "tuning")
    for file in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")]:
        for path in re.findall(rf"`((?:{'|'.join(tops)})/[\w./-]*)`", file.read_text()):
            if not re.search(r"NAME|FILE", path):
                assert (ROOT / path).exists(), f"{file.name} names {path}"
