"""What the sections of a report are made of, besides figures: text alone goes into the page, which escapes it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.report.figures.trials import Panel

_NUMBER = re.compile(r"-?[\d.]+(e-?\d+)?( .*|/.*)?$")


@dataclass(frozen=True)
class Table:
    """Rows under headings.

    Attributes:
        title: Its heading.
        reading: How to read it, and its caveat.
        headings: Of the columns.
        rows: As many cells each.
        strong: Positions of rows that stand out.
    """

    title: str
    reading: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    strong: Sequence[int] = ()

    def is_number(self, column: int) -> bool:
        """Whether every cell of a column that is not empty begins like a number."""
        return all(_NUMBER.match(row[column]) for row in self.rows if row[column])


@dataclass(frozen=True)
class Shot:
    """Images side by side.

    Attributes:
        images: Of each, an address for ``src`` and what it shows.
        lines: What is said below.
        bad: Whether it shows a mistake.
    """

    images: Sequence[tuple[str, str]]
    lines: Sequence[str]
    bad: bool = False


@dataclass(frozen=True)
class Gallery:
    """Shots under a heading.

    Attributes:
        title: Its heading.
        reading: How to read them.
        caveat: What must be borne in mind.
        shots: None of them where ``missing`` says why.
        missing: Why there are none.
    """

    title: str
    reading: str
    caveat: str
    shots: Sequence[Shot]
    missing: str = ""


@dataclass(frozen=True)
class Text:
    """Paragraphs, then lines of code.

    Attributes:
        title: Its heading, or nothing.
        paragraphs: Plain text.
        code: Shown as it is.
    """

    title: str
    paragraphs: Sequence[str] = ()
    code: str = ""


Block = Panel | Table | Gallery | Text


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        title: Its heading.
        anchor: Its name within the page.
        blocks: What it shows.
        introduction: What is true of all of it, or nothing.
        warning: What must not be missed, or nothing.
    """

    title: str
    anchor: str
    blocks: Sequence[Block]
    introduction: str = ""
    warning: str = ""
