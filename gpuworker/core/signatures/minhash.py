"""Min-wise hashes of a set: how much two sets share, from a few numbers each (Broder, SEQUENCES 1997)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HASHES = 128
_SEEDS = np.random.default_rng(0).integers(1, 2**63, HASHES, dtype=np.uint64)


def minhash(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """(W,) ids, W >= 1 -> (128,) least hash of the set under each of 128 fixed hash functions.

    The share of equal places of two such rows estimates |A and B| / |A or B|, with a deviation of sqrt(J (1 - J) / 128).
    """
    given = ids.astype(np.uint64)
    return np.array([_mixed(given ^ seed).min() >> np.uint64(1) for seed in _SEEDS], dtype=np.int64)


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Every bit of x moves every bit of the result (the finaliser of splitmix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
