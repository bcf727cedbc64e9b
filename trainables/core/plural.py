"""Counts with their nouns."""


def plural(count: float, noun: str) -> str:
    """Format a count with its noun, such as ``1 trial``, ``3 trials`` or ``0.5 GPUs``."""
    number = f"{count:g}" if isinstance(count, float) else str(count)
    return f"{number} {noun}{'s' * (count != 1)}"
