"""Runs commands in forks of one process that has imported their libraries: importing takes some 10 s of CPU time."""

import importlib
import json
import os
import sys
import traceback
from typing import NoReturn

LIBRARIES = (
    "ray.tune",
    "tuning.cli.audit",
    "tuning.ensemble.rebuild",
    "tuning.evaluate.evaluate",
    "tuning.predict.batch_prediction",
    "tuning.report.remake_report",
    "tuning.search.session",
)


def serve() -> None:
    """Run the command of each line of standard input, one after the other, and print its exit code."""
    for name in LIBRARIES:
        importlib.import_module(name)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _run(**json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _run(module: str, arguments: list[str], folder: str, environment: dict[str, str], files: list[str]) -> NoReturn:
    """Run a module's ``main`` as a console script does, with a file for each of the three standard streams."""
    try:
        for stream, file in enumerate(files):
            os.dup2(os.open(file, os.O_RDWR), stream)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.modules["sitecustomize"].write_seen()  # what the imports of this process looked up
        sys.argv = [module, *arguments]
        importlib.import_module(module).main()
    except BaseException:
        traceback.print_exc()
    os._exit(1)


if __name__ == "__main__":
    serve()
