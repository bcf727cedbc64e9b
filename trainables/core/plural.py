"""Counts with their nouns."""


def plural(count: float, noun: str, several: str | None = None) -> str:
    """Format a count with its noun, such as ``1 trial``, ``3 trials`` or ``0.5 GPUs``.

    Args:
        count: Number of things.
        noun: Words for one thing; they may end with a verb, such as ``image has``.
        several: Words for any other number, such as ``images have``. Default: the noun with an s.
    """
    number = f"{count:g}" if isinstance(count, float) else str(count)
    return f"{number} {noun if count == 1 else several or noun + 's'}"
