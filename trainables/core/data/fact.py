"""Notes that warn of nothing."""


class Fact(str):
    """A note on how a data set was understood. Other notes are warnings, which reports show in boxes."""

    __slots__ = ()
