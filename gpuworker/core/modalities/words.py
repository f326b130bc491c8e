"""Text as words, as hashed n-gram counts, and as fixed random projections of them.

Hashing is scikit-learn's HashingVectorizer (MurmurHash3 of the UTF-8 of an n-gram), the same on every platform.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, HashingVectorizer
from sklearn.preprocessing import normalize

from gpuworker.core.modalities.constants import fixed_words

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_COLUMNS = 2**18
_SPREAD = 8
_CHARS_READ = 20_000


def words_of(text: str) -> list[str]:
    """Lower-cased words and numbers, English stop words left out."""
    return [word for word in _WORD.findall(text.lower()) if word not in ENGLISH_STOP_WORDS]


def near_key(text: str) -> bytes:
    """Equal for texts that differ only in letter case, spacing and punctuation."""
    return hashlib.blake2b(" ".join(_WORD.findall(text.lower())).encode("utf-8", "replace"), digest_size=16).digest()


def hashed_ngrams(texts: Sequence[str], spec: Mapping[str, Any]) -> NDArray[np.float32]:
    """(n, features) float32, as the input spec's `hashed_ngrams` says.

    The same numbers in scikit-learn: HashingVectorizer(n_features=features, analyzer=analyzer, ngram_range=ngrams,
    lowercase=lowercase, alternate_sign=False, norm=None), then weighting, then norm. `binary` makes every count 1
    (n-grams that share a column are still added up), `log` takes ln(1 + count).
    """
    vectorizer = HashingVectorizer(
        n_features=spec["features"],
        analyzer=spec["analyzer"],
        ngram_range=tuple(spec["ngrams"]),
        lowercase=spec["lowercase"],
        binary=spec["weighting"] == "binary",
        alternate_sign=False,
        norm=None,
        dtype=np.float32,
    )
    counts = vectorizer.transform(texts)
    if spec["weighting"] == "binary":
        counts.data[:] = 1
    if spec["weighting"] == "log":
        counts.data = np.log1p(counts.data)
    if spec["norm"] != "none":
        counts = normalize(counts, norm=spec["norm"], copy=False)
    return np.asarray(counts.toarray(), np.float32)


def projected(texts: Sequence[str], recipe: str, dims: int) -> NDArray[np.float32]:
    """(n, dims) float32: the fixed projection of 'words + word pairs' and 'character 3- to 5-grams'.

    Each of the two halves of the columns holds one family: counts hashed to 2**18 columns with alternating signs,
    ln(1 + count), rows scaled to length 1, then multiplied by a fixed sparse sign matrix (8 entries of +-1/sqrt(8) in
    each row), which keeps inner products. Single words leave English stop words out, word pairs keep them.
    """
    half = dims // 2
    cut = [text[:_CHARS_READ] for text in texts]
    words = _logged(_vectorizer("word", 1, 1, True).transform(cut)) + 0.5 * _logged(_vectorizer("word", 2, 2, False).transform(cut))
    chars = _logged(_vectorizer("char_wb", 3, 5, False).transform(cut))
    parts = [normalize(part) @ _signs(f"{recipe}/{kind}", half) for part, kind in ((words, "words"), (chars, "chars"))]
    return np.concatenate([part.toarray() for part in parts], axis=1).astype(np.float32)


def _vectorizer(analyzer: str, low: int, high: int, stop: bool) -> HashingVectorizer:
    return HashingVectorizer(
        n_features=_COLUMNS, analyzer=analyzer, ngram_range=(low, high), stop_words="english" if stop else None, norm=None, dtype=np.float32
    )


def _logged(counts: scipy.sparse.csr_matrix) -> scipy.sparse.csr_matrix:
    counts.data = np.sign(counts.data) * np.log1p(np.abs(counts.data))
    return counts


@functools.cache
def _signs(recipe: str, dims: int) -> scipy.sparse.csr_matrix:
    drawn = fixed_words(recipe, _COLUMNS * _SPREAD)
    entries = np.where(drawn >> 31, 1, -1).astype(np.float32) / np.float32(np.sqrt(_SPREAD))
    rows = np.repeat(np.arange(_COLUMNS), _SPREAD)
    # A row may draw one column twice: the two entries are added, which keeps the expectation right.
    return scipy.sparse.csr_matrix((entries, (rows, (drawn & 0x7FFFFFFF) % dims)), shape=(_COLUMNS, dims))
