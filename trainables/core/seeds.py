"""Derivation of seeds."""

import numpy as np


def derive_seed(*keys: int) -> int:
    """Return a 32-bit seed that is a pure function of the keys (each >= 0), the same on every machine."""
    return int(np.random.SeedSequence(keys).generate_state(1)[0])
