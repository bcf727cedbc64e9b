"""All short benchmarks, one after another, and a table of their results: ``python -m benchmarks``.

They take under 15 minutes on 2 cores. Run the longer ones separately, such as ``python -m benchmarks.data.audit``:
``data.audit``, ``training.ablation``, ``training.soups``, ``search_quality.searchers``,
``statistics.ensemble_choice``, ``statistics.intervals``, ``statistics.conformal`` and ``driver.scale``.
"""

import json
import subprocess
import sys
import time

from benchmarks.record import RESULTS, Row, show

PROGRAMS = (
    "driver.end_to_end",
    "training.throughput",
    "driver.turnaround",
    "training.frozen_cache",
    "training.augmentation",
    "data.decoding",
    "driver.steering",
    "driver.writes",
    "training.checkpoints",
    "training.gpu",
)


def main() -> int:
    """Run each program in its own process; return 1 if one failed."""
    rows, failed = [], []
    for name in PROGRAMS:
        started, file = time.time(), RESULTS / f"{name.partition('.')[2]}.json"
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
