"""Building blocks of a report page. All texts are plain; the template escapes them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

_NUMBER = re.compile(r"[-+]?[\d.]+(e-?\d+)?( .*|/.*)?$")


@dataclass(frozen=True)
class Panel:
    """A figure with its explanation.

    Attributes:
        title: Heading, or empty.
        how_to_read: One or two sentences on how to read the figure.
        caveat: Small print: how many images or trials, which split, how uncertain.
        figure: The figure; None if it could not be drawn.
        missing: Reason why there is no figure.
        min_width: Width in pixels below which the panel scrolls instead of shrinking.
    """

    title: str
    how_to_read: str
    caveat: str
    figure: go.Figure | None
    missing: str = ""
    min_width: int = 0


@dataclass(frozen=True)
class Table:
    """A table with its explanation.

    Attributes:
        title: Heading, or empty.
        how_to_read: Reading instructions and caveats.
        headings: One heading per column.
        rows: Cells of each row, one per column.
        bold: Positions of the rows in bold.
        wrapped: True if long cells take several lines instead of making the table wide. On a phone, the cells of a
            row with more than three stand below each other.
    """

    title: str
    how_to_read: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    bold: Sequence[int] = ()
    wrapped: bool = False

    def is_number(self, column: int) -> bool:
        """Return True if every non-empty cell of a column is a number, with nothing after it but a unit or a share."""
        return all(_NUMBER.match(row[column]) for row in self.rows if row[column])


@dataclass(frozen=True)
class Example:
    """Images side by side with lines of text below.

    Attributes:
        images: ``src`` address and ``alt`` text of each image.
        lines: Text below the images; the first line stands out.
        flagged: True for a mistake or a defect, which gets a red frame.
    """

    images: Sequence[tuple[str, str]]
    lines: Sequence[str]
    flagged: bool = False


@dataclass(frozen=True)
class Gallery:
    """Examples under a heading.

    Attributes:
        title: Heading, or empty.
        how_to_read: Reading instructions.
        caveat: Selection of the examples, and their limits.
        examples: The examples; empty if ``missing`` is given.
        missing: Reason why there are no examples.
        scale: Words at the low and at the high end of the heat maps' colours, or empty.
    """

    title: str
    how_to_read: str
    caveat: str
    examples: Sequence[Example]
    missing: str = ""
    scale: tuple[str, str] | tuple[()] = ()


@dataclass(frozen=True)
class Text:
    """Paragraphs, followed by a code block.

    Attributes:
        title: Heading, or empty.
        paragraphs: Plain text.
        code: Preformatted text, or empty.
    """

    title: str
    paragraphs: Sequence[str] = ()
    code: str = ""


@dataclass(frozen=True)
class Step:
    """A box of a flow diagram.

    Attributes:
        text: Content of the box.
        excluded: Lines of a box beside it, with what is left out here and why.
    """

    text: str
    excluded: Sequence[str] = ()


@dataclass(frozen=True)
class Flow:
    """A flow diagram from top to bottom.

    Attributes:
        title: Heading, or empty.
        how_to_read: Reading instructions.
        steps: Boxes, in order.
        parts: Boxes side by side at the end.
    """

    title: str
    how_to_read: str
    steps: Sequence[Step]
    parts: Sequence[str] = ()


Block = Panel | Table | Gallery | Text | Flow


@dataclass(frozen=True)
class Section:
    """A section of a report.

    Attributes:
        title: Heading.
        anchor: Element id within the page.
        blocks: Content, in order.
        introduction: Text that applies to the whole section, or empty.
        warning: Warning for the whole section, or empty.
        folded: True if readers see the section only after they open it. Prints show all sections.
    """

    title: str
    anchor: str
    blocks: Sequence[Block]
    introduction: str = ""
    warning: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Opening:
    """The first lines of a report.

    Attributes:
        title: Heading of the page.
        summary: The result in plain words.
        notes: Warnings, most important first.
        facts: How the data were understood.
        scores: The result beside others on the same images, or None.
    """

    title: str
    summary: str
    notes: Sequence[str]
    facts: Sequence[str]
    scores: Table | None = None
