import numpy as np

from trainables.core.data.decode.images import SIDE
from trainables.core.data.splits import nearest_neighbours as module
from trainables.core.data.splits.nearest_neighbours import nearest_neighbours


def test_nearest_neighbours_equal_brute_force(monkeypatch):
    monkeypatch.setattr(module, "_QUERIES", 5)
    monkeypatch.setattr(module, "_GALLERY", 12)
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (40, SIDE, SIDE, 1), dtype=np.uint8)
    correlation = np.corrcoef(pixels.reshape(40, -1))
    queries, gallery = np.arange(0, 40, 3), np.arange(1, 40)
    groups = np.stack([np.arange(40), generator.integers(0, 4, 40), np.zeros(40, dtype=int)])
    found = nearest_neighbours(pixels, queries, gallery, groups)
    for row, group in enumerate(groups):
        for query, neighbour in zip(queries, found[row], strict=True):
            allowed = [index for index in gallery if group[index] != group[query]]
            expected = max(allowed, key=lambda index: correlation[query, index]) if allowed else -1
            assert neighbour == expected
    assert (nearest_neighbours(pixels, queries, gallery)[0] == found[0]).all()
