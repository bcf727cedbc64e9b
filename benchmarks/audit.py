"""Time and memory of comparing all images of a data set with each other, as the audit does.

Measured on 8,000 and 16,000 phantoms, which form groups. Memory grows with the number of images and time with its
square; the figures for 100,000 images are extrapolated.

    python -m benchmarks.audit
"""

import resource
import sys
import time

import numpy as np

from benchmarks.record import Row, at_most, record
from trainables.core.data.readers.phantoms import SLICES_PER_SUBJECT, make_phantoms
from trainables.core.data.splits.groups import group_by_similarity

COUNTS = (8_000, 16_000)
MANY = 100_000


def main() -> int:
    """Measure and record; return 1 if the goal was missed."""
    seconds, peaks = [], []
    before = _peak()
    for count in COUNTS:
        phantoms = make_phantoms(subjects=count // SLICES_PER_SUBJECT + 1)
        pixels, labels = phantoms.images[:count, :, :, None], phantoms.labels[:count]
        started = time.perf_counter()
        group_by_similarity(pixels, np.arange(count), labels)
        seconds.append(time.perf_counter() - started)
        peaks.append(_peak() - before)
    pairs = [count * (count - 1) / 2e6 for count in COUNTS]
    bytes_per_image = (peaks[1] - peaks[0]) / (COUNTS[1] - COUNTS[0])
    memory = (before + peaks[1] + bytes_per_image * (MANY - COUNTS[1])) / 1e9
    hours = seconds[1] * (MANY / COUNTS[1]) ** 2 / 3600
    rows = [
        Row("seconds per million pairs", seconds[1] / pairs[1], "", None),
        at_most("100,000 images: GB of memory, extrapolated", memory, 4),
        Row("100,000 images: hours on this machine, extrapolated", hours, "", None),
    ]
    record("audit", rows, {"images": COUNTS, "seconds": seconds, "peak_bytes": peaks, "before_bytes": before})
    return 0 if rows[1].met else 1


def _peak() -> int:
    """Return the peak resident memory of this process in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    sys.exit(main())
