"""The documentation's Markdown files, and the code blocks in them that tests run."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = sorted(
    file.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "deploy/*.md", "benchmarks/**/*.md")
    for file in ROOT.glob(pattern)
)
_BLOCK = re.compile(
    r"^<!-- test(?:: (?P<what>\S+)(?: (?P<name>\S+))?)? -->\n```(?P<language>\w+)\n(?P<text>.*?)^```$",
    flags=re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced code block that a test uses: ``run`` it, write it to a file, or compare it with what was printed."""

    what: str
    name: str
    language: str
    text: str


def blocks(file):
    """The blocks of a page that follow a comment `<!-- test -->`, in order."""
    found = _BLOCK.finditer((ROOT / file).read_text())
    return [Block(block["what"] or "run", block["name"] or "", block["language"], block["text"]) for block in found]


def prose(file):
    """A page without its fenced code blocks."""
    return re.sub(r"^```.*?^```$", "", (ROOT / file).read_text(), flags=re.MULTILINE | re.DOTALL)
