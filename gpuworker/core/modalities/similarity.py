"""How alike two strings or records are, in [0, 1], for many pairs at a time. Every number depends on its own pair alone.

ATTRIBUTE (10 numbers per attribute), both values lower-cased and spaces joined:
  0 token Jaccard            |A n B| / |A u B| of the sets of words and numbers
  1 token overlap            |A n B| / min(|A|, |B|)
  2 trigram Jaccard          of the sets of 3-byte pieces of the first 512 bytes (UTF-8)
  3 edit ratio               1 - Levenshtein / longer length, of the first 48 characters
  4 common prefix            its length / longer length, of the first 48 characters
  5 equal                    1 when the whole values are equal
  6 numeric closeness        1 - |a - b| / max(|a|, |b|) when both are numbers (a currency sign and thousands commas are dropped), else 0
  7 both numeric             flag
  8 one missing, 9 both missing: flags; numbers 0 to 7 are then 0

RECORD (8 numbers), values of all attributes in order of name joined by spaces:
  0 token Jaccard, 1 token overlap, 2 trigram Jaccard (512 bytes)
  3 Jaccard and 4 overlap of the tokens that hold a digit (model numbers, years, prices)
  5 share of attributes with equal values among those filled on both sides
  6 greatest token Jaccard of any attribute
  7 fewer tokens / more tokens
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

PER_ATTRIBUTE = 10
PER_RECORD = 8
_TOKEN = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"^[$€£¥]?\s*(-?\d{1,15}(?:\.\d{1,15})?)\s*[$€£¥]?$")
_EDIT_CHARS = 48
_GRAM_BYTES = 512


def clean(value: str) -> str:
    """Lower-cased, spaces joined."""
    return " ".join(value.lower().split())


def attribute_similarity(left: Sequence[str], right: Sequence[str]) -> NDArray[np.float32]:
    """(n, 10) for the values of one attribute; see ATTRIBUTE above."""
    a, b = [clean(value) for value in left], [clean(value) for value in right]
    out = np.zeros((len(a), PER_ATTRIBUTE), np.float32)
    empty_a, empty_b = np.array([not value for value in a], bool), np.array([not value for value in b], bool)
    out[:, 0:2] = token_overlaps([set(_TOKEN.findall(value)) for value in a], [set(_TOKEN.findall(value)) for value in b])
    out[:, 2] = trigram_jaccard(a, b)
    out[:, 3], out[:, 4] = edit_and_prefix(a, b)
    out[:, 5] = [x == y for x, y in zip(a, b, strict=True)]
    out[:, 6], out[:, 7] = _numeric(a, b)
    out[empty_a | empty_b, :8] = 0
    out[:, 8], out[:, 9] = empty_a ^ empty_b, empty_a & empty_b
    return out


def record_similarity(left: Sequence[Sequence[str]], right: Sequence[Sequence[str]]) -> NDArray[np.float32]:
    """(n, 8) for records given as one list of values per attribute, attributes in order of name; see RECORD above."""
    a, b = [[clean(value) for value in column] for column in left], [[clean(value) for value in column] for column in right]
    whole_a, whole_b = (
        [" ".join(filter(None, row)) for row in zip(*a, strict=True)],
        [" ".join(filter(None, row)) for row in zip(*b, strict=True)],
    )
    tokens_a, tokens_b = [set(_TOKEN.findall(text)) for text in whole_a], [set(_TOKEN.findall(text)) for text in whole_b]
    out = np.zeros((len(whole_a), PER_RECORD), np.float32)
    out[:, 0:2] = token_overlaps(tokens_a, tokens_b)
    out[:, 2] = trigram_jaccard(whole_a, whole_b)
    out[:, 3:5] = token_overlaps([_with_digit(tokens) for tokens in tokens_a], [_with_digit(tokens) for tokens in tokens_b])
    both = equal = np.zeros(len(whole_a))
    for x, y in zip(a, b, strict=True):
        filled = np.array([bool(u and v) for u, v in zip(x, y, strict=True)], float)
        both, equal = both + filled, equal + filled * np.array([u == v for u, v in zip(x, y, strict=True)], float)
        jaccard = token_overlaps([set(_TOKEN.findall(value)) for value in x], [set(_TOKEN.findall(value)) for value in y])[:, 0]
        out[:, 6] = np.maximum(out[:, 6], jaccard)
    out[:, 5] = equal / np.maximum(both, 1)
    sizes = np.array([(len(x), len(y)) for x, y in zip(tokens_a, tokens_b, strict=True)], float).reshape(-1, 2)
    out[:, 7] = sizes.min(1) / np.maximum(sizes.max(1), 1)
    return out


def token_overlaps(left: Sequence[set[str]], right: Sequence[set[str]]) -> NDArray[np.float32]:
    """(n, 2): Jaccard and overlap coefficient of two sets each; 0 when one is empty."""
    out = np.zeros((len(left), 2), np.float32)
    for i, (a, b) in enumerate(zip(left, right, strict=True)):
        shared = len(a & b)
        if shared:
            out[i] = shared / (len(a) + len(b) - shared), shared / min(len(a), len(b))
    return out


def trigram_jaccard(left: Sequence[str], right: Sequence[str]) -> NDArray[np.float32]:
    """(n,) Jaccard of the sets of 3-byte pieces of the first 512 bytes; 0 when one has none."""
    a, b = _trigrams(left), _trigrams(right)
    shared = np.bincount(np.intersect1d(a, b, assume_unique=True) >> 24, minlength=len(left))
    either = np.bincount(a >> 24, minlength=len(left)) + np.bincount(b >> 24, minlength=len(left)) - shared
    return np.asarray(shared / np.maximum(either, 1), np.float32)


def _trigrams(texts: Sequence[str]) -> NDArray[np.int64]:
    """Distinct (row << 24 | three bytes), sorted: exact, without hash collisions."""
    encoded = [text.encode("utf-8", "replace")[:_GRAM_BYTES] for text in texts]
    lengths = np.array([len(row) for row in encoded], np.int64)
    flat = np.frombuffer(b"".join(encoded), np.uint8).astype(np.int64)
    if flat.size < 3:
        return np.zeros(0, np.int64)
    row = np.repeat(np.arange(len(encoded)), lengths)
    inside = row[2:] == row[:-2]
    keys = (row[:-2] << 24) | (flat[:-2] << 16) | (flat[1:-1] << 8) | flat[2:]
    return np.unique(keys[inside])


def edit_and_prefix(left: Sequence[str], right: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(n,) 1 - Levenshtein / longer, and common prefix / longer, of the first 48 characters; 0 when both are empty.

    The table of distances is filled row by row for all pairs at once; a run of insertions along a row is a running
    minimum after the column number is taken off.
    """
    a, length_a = _codes(left)
    b, length_b = _codes(right)
    columns = np.arange(_EDIT_CHARS + 1, dtype=np.int16)
    row = np.tile(columns, (len(a), 1))
    distance = np.where(length_a == 0, length_b, 0).astype(np.int16)
    for i in range(1, int(length_a.max(initial=0)) + 1):
        best = np.empty_like(row)
        best[:, 0] = i
        np.minimum(row[:, 1:] + 1, row[:, :-1] + (b != a[:, i - 1 : i]), out=best[:, 1:], casting="unsafe")
        row = np.minimum.accumulate(best - columns, axis=1) + columns
        done = length_a == i
        distance[done] = row[done, length_b[done]]
    longer = np.maximum(np.maximum(length_a, length_b), 1)
    same = (a == b) & (np.arange(_EDIT_CHARS) < np.minimum(length_a, length_b)[:, None])
    prefix = np.logical_and.accumulate(same, axis=1).sum(1)
    filled = np.maximum(length_a, length_b) > 0
    return np.where(filled, 1 - distance / longer, 0).astype(np.float32), (prefix / longer).astype(np.float32)


def _codes(texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    cut = [text[:_EDIT_CHARS].replace("\0", " ") for text in texts]
    codes = np.array(cut, f"<U{_EDIT_CHARS}").view(np.uint32).reshape(len(cut), _EDIT_CHARS)
    return codes, np.array([len(text) for text in cut], np.int64)


def _numeric(left: Sequence[str], right: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    a, b = (np.array([_number(value) for value in values], float) for values in (left, right))
    both = ~(np.isnan(a) | np.isnan(b))
    top = np.maximum(np.abs(a), np.abs(b))
    with np.errstate(invalid="ignore", divide="ignore"):
        close = np.where(top > 0, 1 - np.abs(a - b) / top, 1.0)
    return np.where(both, np.clip(close, 0, 1), 0), both


def _number(value: str) -> float:
    match = _NUMBER.match(value.replace(",", ""))
    return float(match[1]) if match else float("nan")


def _with_digit(tokens: set[str]) -> set[str]:
    return {token for token in tokens if any(c.isdigit() for c in token)}
