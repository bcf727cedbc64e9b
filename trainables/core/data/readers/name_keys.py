"""Keys by which names count as equal although they are spelled differently."""

import re
import unicodedata
from decimal import Decimal


def name_key(name: str) -> str:
    """Return a key that is equal for names which differ only in case, outer spaces, or characters that nobody sees."""
    seen = (letter for letter in unicodedata.normalize("NFKC", name) if unicodedata.category(letter) != "Cf")
    return "".join(seen).casefold().strip()


# Small Cyrillic and Greek letters that look like Latin ones, also if only their capitals do, and quotes.
_LOOKALIKES = str.maketrans(
    "\u0430\u0432\u0435\u043a\u043c\u043d\u043e\u0440\u0441\u0442\u0443\u0445\u0456\u0458\u0455"
    "\u03b1\u03b2\u03b5\u03b9\u03ba\u03bc\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7\u2018\u2019\u02bc`",
    "abekmhopctyxijs" + "abeikmnoptyx" + 4 * "'",
)


def class_name_key(name: str) -> str:
    """Return a key that is equal for class names which also differ only in look-alike letters, dashes, spaces or zeros.

    The same holds for a final question mark or full stop. Spaces and dashes between two digits count, as in
    ``grade 1-2`` and ``grade 12``, but not their kind.
    """
    key = name_key(name).rstrip(".? ")
    if re.fullmatch(r"-?\d+(\.\d+)?", key):
        return str(Decimal(key).normalize())
    dashes = ("-" if unicodedata.category(letter) == "Pd" else letter for letter in key)
    words = "".join(dashes).translate(_LOOKALIKES).replace("_", " ")
    words = re.sub(r"(?<=\d)[\s-]+(?=\d)", " ", words)
    return re.sub(r"(?<=[^\W\d])[\s-]+(?=\w)|(?<=\w)[\s-]+(?=[^\W\d])", "", words)
