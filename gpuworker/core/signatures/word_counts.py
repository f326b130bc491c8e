"""Word counts of a text set, stored by word hash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from gpuworker.core.signatures.clusters import clusters
from gpuworker.core.signatures.inputs import Parts, SignatureInput, groups, words_order
from gpuworker.core.signatures.minhash import minhash

GROUP_ROWS = 50
MAX_GROUPS = 32
MAX_WORDS = 1024


@lru_cache(maxsize=65536)
def word_id(word: str) -> int:
    """A stable 63-bit id, the same in every signature so that two sets can be compared.

    It keeps plain text out of the store, no more: who has a dictionary can look a common word up again.
    """
    return int.from_bytes(blake2b(word.encode(), digest_size=8).digest()) >> 1


def word_counts(given: SignatureInput) -> Parts:
    """ids, counts: (W,) int64, the up to 1,024 most frequent lower-cased words that are no English stop words.

    group_counts: (G, W) uint16, the same words in each group of 50 shuffled rows, at most 32 groups; cluster_counts: (P, W)
    uint16, in each cluster of rows in the probe features, where there are any. minhash: (128,) int64 of all words, where there is one.
    """
    if given.words is None or not len(given.words):
        return {}
    rows = [_kept(tokens) for tokens in given.words]
    total = Counter(word for row in rows for word in row)
    chosen = sorted(((-count, word) for word, count in total.items()))[:MAX_WORDS]
    column = {word: index for index, (_, word) in enumerate(chosen)}
    parts: Parts = {
        "ids": np.array([word_id(word) for _, word in chosen], dtype=np.int64),
        "counts": np.array([-count for count, _ in chosen], dtype=np.int64),
        "group_counts": _table(rows, groups(words_order(rows), GROUP_ROWS, MAX_GROUPS), column),
    }
    if given.features is not None:
        parts["cluster_counts"] = _table(rows, clusters(given.features), column)
    if total:
        parts["minhash"] = minhash(np.array([word_id(word) for word in total], dtype=np.int64))
    return parts


def _table(rows: Sequence[Sequence[str]], cut: Sequence[NDArray[np.intp]], column: Mapping[str, int]) -> NDArray[np.uint16]:
    """(len(cut), W) counts of the chosen words in each set of rows, at most 65,535 each."""
    table = np.zeros((len(cut), len(column)), dtype=np.int64)
    for line, members in zip(table, cut, strict=True):
        found = [column[word] for member in members for word in rows[member] if word in column]
        line += np.bincount(found, minlength=len(column)).astype(np.int64) if found else 0
    return np.minimum(table, np.iinfo(np.uint16).max).astype(np.uint16)


def _kept(tokens: Sequence[str]) -> list[str]:
    return [word for word in (token.lower() for token in tokens) if word and word not in ENGLISH_STOP_WORDS]


def joint_columns(
    ids_a: NDArray[np.int64], counts_a: NDArray[np.int64], ids_b: NDArray[np.int64], counts_b: NDArray[np.int64], size: int = 300
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The `size` most frequent words of both sets together, as column numbers into a and into b; -1 = absent there.

    Ties go by word id, so that neither the order of the sets nor of their words matters.
    """
    ids, place = np.unique(np.concatenate([ids_a, ids_b]), return_inverse=True)
    total = np.bincount(place, weights=np.concatenate([counts_a, counts_b]), minlength=len(ids))
    top = np.lexsort((ids, -total))[:size]
    in_a, in_b = np.full(len(ids), -1), np.full(len(ids), -1)
    in_a[place[: len(ids_a)]] = np.arange(len(ids_a))
    in_b[place[len(ids_a) :]] = np.arange(len(ids_b))
    return in_a[top], in_b[top]


def take_columns(counts: NDArray[np.generic], columns: NDArray[np.int64]) -> NDArray[np.float64]:
    """(..., W) counts -> (..., size) in the order of `columns`, 0 where a word is absent."""
    padded = np.concatenate([counts.astype(np.float64), np.zeros((*counts.shape[:-1], 1))], axis=-1)
    return np.asarray(padded[..., columns])
