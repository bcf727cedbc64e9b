"""The loop of a searcher's own process; see ``pipe``. It imports nothing but the standard library."""

import json
import os
import sys
from collections.abc import Callable
from typing import Any, Protocol


class Served(Protocol):
    """A search in the process."""

    def ask(self) -> dict[str, Any]:
        """Return ``trial`` and ``params``, or an empty dict to wait."""
        ...

    def report(self, trial: int, epoch: int, score: float, seconds: float) -> str:
        """Return ``continue``, ``stop`` or ``pause``."""
        ...

    def end(self, trial: int, failed: bool) -> None:
        """Note the end of a trial."""
        ...


def serve(start: Callable[[dict[str, Any]], Served]) -> None:
    """Answer requests until the input ends. Whatever the library prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    search: Served | None = None
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any] = {}
        if "start" in request:
            search = start(request["start"])
        else:
            assert search is not None
            answer = _answer(search, request)
        answers.write(f"{json.dumps(answer)}\n")
        answers.flush()


def _answer(search: Served, request: dict[str, Any]) -> dict[str, Any]:
    if "ask" in request:
        return search.ask()
    if "report" in request:
        arguments = (request["report"], request["epoch"], request["score"], request["seconds"])
        return {"decision": search.report(*arguments)}
    search.end(request["end"], request["failed"])
    return {}
