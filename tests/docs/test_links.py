"""Links between pages, to files, and to headings lead somewhere, in the repository as on the site."""

import re

import pytest

from tests.docs.pages import FILES, ROOT, prose

LINK = re.compile(r"\]\(([^()\s]+)\)")
GENERATED = {"docs/reference/spaces.md": {"search_spaces.space.SearchSpace"}}


def anchors(file):
    """The anchors of a page's headings, as GitHub and MkDocs make them of plain headings."""
    headings = re.findall(r"^#+ (.+)$", prose(file), flags=re.M)
    slugs = {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}
    return slugs | GENERATED.get(file, set())


@pytest.mark.parametrize("file", FILES)
def test_links_lead_somewhere(file):
    for target in LINK.findall(prose(file)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = ((ROOT / file).parent / path).resolve() if path else ROOT / file
        assert linked.exists(), f"{file} links to {target}"
        if anchor:
            assert anchor in anchors(linked.relative_to(ROOT).as_posix()), f"{file} links to {target}"


def test_every_picture_is_shown():
    shown = {target.rpartition("/")[2] for file in FILES for target in LINK.findall(prose(file))}
    assert {picture.name for picture in (ROOT / "docs" / "images").iterdir()} <= shown


def test_every_page_is_in_the_site():
    navigation = (ROOT / "mkdocs.yml").read_text()
    for file in FILES:
        if file.startswith("docs/"):
            assert file.removeprefix("docs/") in navigation
