"""Set-up of child processes that ``multiprocessing`` starts."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def own_code_first() -> Iterator[None]:
    """Let new processes import this very package: a loaded MLflow model puts its own, smaller copy first."""
    root = str(Path(__file__).parents[2])
    sys.path.insert(0, root)
    try:
        yield
    finally:
        sys.path.remove(root)


def follow_parent() -> None:
    """Let this process, a child, end with its parent, however that ends. Ctrl-C reaches only the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # the main thread may wait for ever
