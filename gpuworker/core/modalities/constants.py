"""Fixed pseudo-random numbers for feature encoders: the same on every platform and in every version of every library."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def fixed_words(recipe: str, count: int) -> NDArray[np.uint32]:
    """`count` uniform 32-bit words drawn from SHAKE-256 of the recipe's name."""
    return np.frombuffer(hashlib.shake_256(recipe.encode()).digest(4 * count), "<u4").astype(np.uint32)


def fixed_uniform(recipe: str, *shape: int) -> NDArray[np.float32]:
    """Uniform numbers in [-1, 1)."""
    words = fixed_words(recipe, int(np.prod(shape)))
    return (words / np.float64(2**31) - 1).astype(np.float32).reshape(shape)
