"""``python -m benchmarks``: every program here, one after another, and a table of what was measured.

On 2 cores in under 15 minutes. The comparison of searchers runs with fewer seeds than the figures that are kept; the
GPU's program says "not measured" where there is none.
"""

import json
import subprocess
import sys
import time

from benchmarks.record import RESULTS, Row, show

PROGRAMS = ("end_to_end", "training", "turnaround", "prefix", "decoding", "driver", "gpu")


def main() -> int:
    """Runs them in processes of their own; 1 where one failed."""
    failed = []
    for name in PROGRAMS:
        started = time.perf_counter()
        code = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode
        print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
        failed += [name] if code else []
    files = [RESULTS / f"{name}.json" for name in PROGRAMS]
    show([Row(**row) for file in files if file.exists() for row in json.loads(file.read_text())["rows"]])
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
