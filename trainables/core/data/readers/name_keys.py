"""Keys by which names count as equal although they are spelled differently."""

import re
import unicodedata
from decimal import Decimal


def name_key(name: str) -> str:
    """Return a key that is equal for names which differ only in case, outer spaces, or characters that nobody sees."""
    seen = (letter for letter in unicodedata.normalize("NFKC", name) if unicodedata.category(letter) != "Cf")
    return "".join(seen).casefold().strip()


def class_name_key(name: str) -> str:
    """Return a key that is equal for class names which also differ only in spaces, hyphens or zeros of a number."""
    key = name_key(name)
    if re.fullmatch(r"-?\d+(\.\d+)?", key):
        return str(Decimal(key).normalize())
    return re.sub(r"(?<=\w)[\s_-]+(?=\w)", " ", key.replace("_", " "))
