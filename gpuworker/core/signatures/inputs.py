"""What the parts of a behaviour signature are computed from, and the order in which they look at rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

Parts = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class SignatureInput:
    """One set of N samples, and a model's answers to them where there is a model.

    values: (N, ...) numeric or None. words: N token lists or None. features: (N, D) float32 or None.
    labels: (N,) int64 in [0, n_labels) or None. log_probs: (N, n_labels) natural logarithms or None.
    """

    modality: str
    values: NDArray[Any] | None = None
    words: Sequence[Sequence[str]] | None = None
    features: NDArray[np.float32] | None = None
    labels: NDArray[np.int64] | None = None
    n_labels: int = 0
    log_probs: NDArray[np.float32] | None = None


def array_order(rows: NDArray[Any]) -> NDArray[np.intp]:
    """(N, ...) -> a permutation of N that looks random but depends on the rows' content only, not on their order."""
    flat = np.ascontiguousarray(rows.reshape(len(rows), -1))
    return _by_digest([blake2b(row.tobytes(), digest_size=8).digest() for row in flat])


def words_order(words: Sequence[Sequence[str]]) -> NDArray[np.intp]:
    """The same for token lists."""
    return _by_digest([blake2b("\0".join(row).encode(), digest_size=8).digest() for row in words])


def _by_digest(digests: list[bytes]) -> NDArray[np.intp]:
    return np.argsort(np.frombuffer(b"".join(digests), dtype=">u8"), kind="stable")


def groups(order: NDArray[np.intp], rows: int, most: int) -> list[NDArray[np.intp]]:
    """Cut an order into consecutive groups of `rows`, at most `most`; a rest under half a group is dropped unless it is all there is."""
    cut = [order[start : start + rows] for start in range(0, len(order), rows)][:most]
    whole = [group for group in cut if 2 * len(group) >= rows]
    return whole or cut[:1]
