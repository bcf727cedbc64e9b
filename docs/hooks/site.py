"""MkDocs hooks: pages from the repository's own Markdown files, generated reference sections, and a check for assets.

The site's front page is the README. Links work in the repository and on the site: on the site, a link to a file that
is not part of it becomes plain text.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

from docs.hooks.reference import SECTIONS

ROOT = Path(__file__).parents[2]
# Markdown files of the repository and the pages of the site that show them.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "SECURITY.md": "project/security.md",
    "deploy/README.md": "project/deploy.md",
    "benchmarks/README.md": "project/benchmarks.md",
}
_SOURCES = {page: source for source, page in PAGES.items()}
_FENCE = re.compile(r"^(```.*?^```\s*$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?)\[([^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*)\]\(([^()\s]+)\)")
_MARKER = re.compile(r"^<!-- generated: (\S+) -->$", re.MULTILINE)
# Assets that a browser would fetch from another server. Links that a reader clicks are fine.
_OUTWARD = re.compile(
    r"""<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=["']?(?:https?:)?//[^>]*>"""
    r"""|<link\b(?![^>]*rel=["']?canonical)[^>]*\bhref=["']?(?:https?:)?//[^>]*>"""
    r"""|@import\s+(?:url\()?["']?(?:https?:)?//[^;]*|url\(["']?(?:https?:)?//[^)]*\)"""
)


def on_files(files: Files, config: Any) -> Files:
    """Add the repository's own Markdown files to the site."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Fill in the generated sections, and point links at the pages of the site."""
    markdown = _MARKER.sub(lambda marker: SECTIONS[marker[1]](), markdown)
    uri = page.file.src_uri
    source = _SOURCES.get(uri, f"docs/{uri}")
    parts = _FENCE.split(markdown)  # fenced code blocks are at the odd positions, and stay as they are
    return "".join(part if index % 2 else site_links(part, source, uri) for index, part in enumerate(parts))


def on_post_build(config: Any) -> None:
    """Fail the build if a page would fetch an asset from another server."""
    for file in sorted(Path(config["site_dir"]).rglob("*")):
        if file.suffix in (".html", ".css"):
            outward = _OUTWARD.search(file.read_text())
            if outward:
                raise PluginError(f"the site must not fetch assets from other servers, but {file} has {outward[0]}")


def site_links(markdown: str, source: str, uri: str) -> str:
    """Turn links between files of the repository into links between pages of the site.

    Args:
        markdown: Text without fenced code blocks.
        source: Path of the Markdown file in the repository.
        uri: Path of its page below the site's root.
    """

    def replaced(link: re.Match[str]) -> str:
        image, text, target = link.groups()
        path, _, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", target):
            return link[0]
        target_file = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        page = PAGES.get(target_file) or PAGES.get(f"{target_file}/README.md")
        if page is None and target_file.startswith("docs/"):
            page = target_file.removeprefix("docs/")
        if page is None:
            return text
        relative = posixpath.relpath(page, posixpath.dirname(uri) or ".")
        return f"{image}[{text}]({relative}{'#' * bool(anchor)}{anchor})"

    return _LINK.sub(replaced, markdown)
