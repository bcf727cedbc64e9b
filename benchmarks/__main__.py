"""``python -m benchmarks``: every program here, one after another, and a table of what was measured.

On 2 cores in under 15 minutes. Those that take longer run alone: ``python -m benchmarks.searchers``, ``... .audit``,
``... .scale``.
"""

import json
import subprocess
import sys
import time

from benchmarks.record import RESULTS, Row, show

PROGRAMS = ("end_to_end", "training", "turnaround", "prefix", "decoding", "driver", "writes", "checkpoints", "gpu")


def main() -> int:
    """Runs them in processes of their own; 1 where one failed."""
    rows, failed = [], []
    for name in PROGRAMS:
        started, file = time.time(), RESULTS / f"{name}.json"
        code = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode
        print(f"{name}: {time.time() - started:.0f} s", flush=True)
        failed += [name] if code else []
        if code == 0 and file.exists() and file.stat().st_mtime >= started:
            rows += [Row(**row) for row in json.loads(file.read_text())["rows"]]
        else:
            rows.append(Row(name, None, "", None))
    show(rows)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
