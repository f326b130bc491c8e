"""Entity pairs: two records with the same attributes, from tables with columns left_<attribute> and right_<attribute>.

Batch arrays: string columns `left.<j>` and `right.<j>`, "" = missing. meta: modality, attributes (names in file order).

Model input (n, width) float32, by `kind`:
  similarity         10 numbers per attribute, attributes in the spec's order (`similarity.py`, ATTRIBUTE)
  record_similarity  8 numbers (`similarity.py`, RECORD)
  hashed_pair        [left, right, |left - right|, left * right], each `features` wide: plain counts of the words of the
                     attributes' values joined by spaces (the spec's attributes in its order, else all in order of name),
                     as HashingVectorizer(n_features=features, alternate_sign=False, norm=None)
Probe features (D = 85), the same for any attributes: the 8 RECORD numbers; least, mean and greatest over the
attributes filled on both sides of ATTRIBUTE 0, 2, 3, 5 (12); share of attributes filled on both sides; and 0.3 times
the 64-column projection of the words of both records (`words.projected`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.modalities.batches import string_column, strings
from gpuworker.core.modalities.fitting import only_input, require_fit
from gpuworker.core.modalities.options import DEFAULT_CAPS, Caps, ReadOptions
from gpuworker.core.modalities.problems import ProblemLog
from gpuworker.core.modalities.records import as_text, read_records
from gpuworker.core.modalities.results import finish
from gpuworker.core.modalities.similarity import attribute_similarity, record_similarity
from gpuworker.core.modalities.words import hashed_ngrams, near_key, projected, words_of
from gpuworker.core.protocols import ReadResult, SampleBatch, SourceFile

FEATURES_VERSION = "pair-probe/1"
LEFT, RIGHT = "left_", "right_"
_SUMMARISED = (0, 2, 3, 5)
_PROJECTED = 64
_WORDS_WEIGHT = np.float32(0.3)
_CHUNK = 2_000
_COUNTS = {"analyzer": "word", "ngrams": [1, 1], "lowercase": True, "weighting": "count", "norm": "none"}
_FIX = "Upload CSV, TSV, Parquet or JSONL with columns left_<attribute> and right_<attribute>."


def read(files: Sequence[SourceFile], options: ReadOptions, caps: Caps = DEFAULT_CAPS) -> ReadResult:
    """A batch of all pairs with both records filled. Raises UnreadableSamples when there is none."""
    log = ProblemLog(caps.problems)
    records = read_records(files, options, caps, log)
    attributes = attributes_of(options.columns or records.names)
    if not records.origin or not attributes:
        if records.origin:
            log.add(records.origin[0][0], f"No attribute stands on both sides; its columns are {', '.join(records.names[:20])}.")
        raise log.nothing_usable(_FIX)
    sides = {side: [[as_text(cell).strip() for cell in records.columns[side + name]] for name in attributes] for side in (LEFT, RIGHT)}
    kept: list[int] = []
    for i, place in enumerate(records.origin):
        empty = [side for side in (LEFT, RIGHT) if not any(column[i] for column in sides[side])]
        if empty:
            log.add(place[0], f"Its {empty[0].rstrip('_')} record is empty.", place[1])
        else:
            kept.append(i)
    arrays: dict[str, NDArray[Any]] = {}
    for j in range(len(attributes)):
        arrays |= string_column(f"left.{j}", [sides[LEFT][j][i] for i in kept]) | string_column(
            f"right.{j}", [sides[RIGHT][j][i] for i in kept]
        )
    batch = SampleBatch("pair", len(kept), arrays, {"modality": "pair", "attributes": attributes})
    labels = [records.columns[options.label_column][i] for i in kept] if options.label_column else None
    return finish(batch, labels, records.label_names, [records.origin[i] for i in kept], options, log, near_keys, _FIX)


def attributes_of(columns: Sequence[str]) -> list[str]:
    """The attributes that stand on both sides, in the order of the left columns."""
    return [
        name.removeprefix(LEFT) for name in columns if name.startswith(LEFT) and name != LEFT and RIGHT + name.removeprefix(LEFT) in columns
    ]


def encode(batch: SampleBatch, start: int, stop: int, spec: Mapping[str, Any], model_inputs: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Rows start..stop, (n, width) float32. Raises Incompatible when an attribute is missing."""
    require_fit(batch, spec)
    name = only_input(model_inputs)
    if spec["kind"] == "similarity":
        parts = [attribute_similarity(*_values(batch, attribute, start, stop)) for attribute in spec["attributes"]]
        return {name: np.concatenate(parts, axis=1)}
    attributes = spec.get("attributes") or sorted(batch.meta["attributes"])
    left, right = _sides(batch, attributes, start, stop)
    if spec["kind"] == "record_similarity":
        return {name: record_similarity(left, right)}
    a, b = (
        hashed_ngrams([" ".join(filter(None, row)) for row in zip(*side, strict=True)], {**_COUNTS, "features": spec["features"]})
        for side in (left, right)
    )
    return {name: np.concatenate([a, b, np.abs(a - b), a * b], axis=1)}


def features(batch: SampleBatch) -> NDArray[np.float32]:
    """(N, 85) float32."""
    return np.concatenate([_features(batch, start, min(start + _CHUNK, batch.n)) for start in range(0, batch.n, _CHUNK)])


def _features(batch: SampleBatch, start: int, stop: int) -> NDArray[np.float32]:
    left, right = _sides(batch, sorted(batch.meta["attributes"]), start, stop)
    each = np.stack([attribute_similarity(a, b) for a, b in zip(left, right, strict=True)], axis=1)
    filled = (each[:, :, 8] + each[:, :, 9]) == 0
    chosen = each[:, :, _SUMMARISED]
    count = np.maximum(filled.sum(1), 1)[:, None]
    none = ~filled.any(1)[:, None]
    least = np.where(none, 0, np.where(filled[:, :, None], chosen, 1).min(1))
    greatest = np.where(filled[:, :, None], chosen, 0).max(1)
    mean = (chosen * filled[:, :, None]).sum(1) / count
    texts = [" ".join(filter(None, row)) for row in zip(*left, *right, strict=True)]
    blocks = [
        record_similarity(left, right),
        least,
        mean,
        greatest,
        filled.mean(1)[:, None],
        _WORDS_WEIGHT * projected(texts, FEATURES_VERSION, _PROJECTED),
    ]
    return np.concatenate(blocks, axis=1).astype(np.float32)


def words(batch: SampleBatch) -> list[list[str]]:
    """The lower-cased words of both records of each pair, English stop words left out."""
    left, right = _sides(batch, batch.meta["attributes"], 0, batch.n)
    return [words_of(" ".join(row)) for row in zip(*left, *right, strict=True)]


def preview(batch: SampleBatch, index: int) -> dict[str, Any]:
    """{"kind": "pair", "cells": [{"name", "left", "right"}]}, values cut to 500 characters."""
    cells = []
    for name in batch.meta["attributes"]:
        left, right = _values(batch, name, index, index + 1)
        cells.append({"name": name, "left": left[0][:500], "right": right[0][:500]})
    return {"kind": "pair", "cells": cells}


def near_keys(batch: SampleBatch) -> list[tuple[bytes, ...]]:
    """Equal for pairs whose values differ only in letter case, spacing and punctuation."""
    left, right = _sides(batch, batch.meta["attributes"], 0, batch.n)
    return [tuple(near_key(value) for value in row) for row in zip(*left, *right, strict=True)]


def _values(batch: SampleBatch, attribute: str, start: int, stop: int) -> tuple[list[str], list[str]]:
    place = [name.casefold() for name in batch.meta["attributes"]].index(attribute.casefold())
    return strings(batch, f"left.{place}", start, stop), strings(batch, f"right.{place}", start, stop)


def _sides(batch: SampleBatch, attributes: Sequence[str], start: int, stop: int) -> tuple[list[list[str]], list[list[str]]]:
    both = [_values(batch, name, start, stop) for name in attributes]
    return [left for left, _ in both], [right for _, right in both]
