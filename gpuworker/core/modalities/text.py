"""Text: one string per sample, from CSV, TSV, Parquet or JSONL with a chosen column, or from .txt with one text per line.

Batch arrays: the string column `text`. meta: modality, column.
Probe features (D = 1024): see `words.projected`.
Model input: `hashed_ngrams` (see `words.hashed_ngrams`), or token ids of a tokenizer.json, padded on the right and cut
to max_length with the tokenizer's special tokens kept; attention_mask is 1 on tokens and 0 on padding.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from gpuworker.core.errors import Incompatible, SpecError, UnreadableSamples
from gpuworker.core.modalities.batches import string_column, strings
from gpuworker.core.modalities.fitting import only_input, require_fit
from gpuworker.core.modalities.options import DEFAULT_CAPS, Caps, ReadOptions
from gpuworker.core.modalities.problems import ProblemLog
from gpuworker.core.modalities.records import Records, as_text, is_input, read_records
from gpuworker.core.modalities.results import finish
from gpuworker.core.modalities.words import hashed_ngrams, near_key, projected, words_of
from gpuworker.core.protocols import ReadResult, SampleBatch, SourceFile

FEATURES_VERSION = "text-probe/1"
DIMS = 1024
_CHUNK = 1_000
_PREVIEW_CHARS = 2_000
_FIX = "Upload CSV, TSV, Parquet or JSONL with a column of text, or .txt with one text per line."


def read(files: Sequence[SourceFile], options: ReadOptions, caps: Caps = DEFAULT_CAPS) -> ReadResult:
    """A batch of all rows that hold text. Raises UnreadableSamples when there is none."""
    log = ProblemLog(caps.problems)
    if len(options.columns) > 1:
        raise UnreadableSamples(
            "Text samples come from one column.", detail=f"Found {', '.join(options.columns[:10])}.", fix="Choose one column."
        )
    records = read_records(files, options, caps, log)
    if not records.origin:
        raise log.nothing_usable(_FIX)
    column = options.columns[0] if options.columns else text_column(records, options.label_column)
    texts = [as_text(cell) for cell in records.columns[column]]
    kept = [i for i, text in enumerate(texts) if text.strip()]
    for i in sorted(set(range(len(texts))) - set(kept)):
        log.add(records.origin[i][0], f"Column {column!r} is empty.", records.origin[i][1])
    batch = SampleBatch("text", len(kept), string_column("text", [texts[i] for i in kept]), {"modality": "text", "column": column})
    labels = [records.columns[options.label_column][i] for i in kept] if options.label_column else None
    return finish(batch, labels, records.label_names, [records.origin[i] for i in kept], options, log, near_keys, _FIX)


def text_column(records: Records, label_column: str) -> str:
    """The column that most looks like the text: the one with the most characters among those that may be an input."""
    names = [name for name in records.names if name != label_column and is_input(name)] or list(records.names)
    lengths = {name: sum(len(cell) for cell in records.columns[name][:1_000] if isinstance(cell, str)) for name in names}
    return max(names, key=lambda name: lengths[name])


def encode(batch: SampleBatch, start: int, stop: int, spec: Mapping[str, Any], model_inputs: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Rows start..stop: (n, features) float32, or integer (n, max_length) for each input. Raises Incompatible, SpecError."""
    require_fit(batch, spec)
    texts = strings(batch, "text", start, stop)
    if spec["kind"] == "hashed_ngrams":
        return {only_input(model_inputs): hashed_ngrams(texts, spec)}
    fed = spec.get("inputs") or {only_input(model_inputs): "ids"}
    if set(fed) != set(model_inputs):
        raise Incompatible(
            "The input spec names other inputs than the model has.",
            detail=f"Spec: {', '.join(fed)}; model: {', '.join(model_inputs)}.",
            fix="Say under `inputs` what each input is fed.",
        )
    tokenizer = _tokenizer(json.dumps(spec["tokenizer"], sort_keys=True), int(spec["max_length"]))
    # One text at a time: the batch call starts threads, which the sandbox does not allow.
    encodings = [tokenizer.encode(text) for text in texts]
    return {name: _tokens(encodings, what, spec) for name, what in fed.items()}


def features(batch: SampleBatch) -> NDArray[np.float32]:
    """(N, 1024) float32."""
    starts = range(0, batch.n, _CHUNK)
    return np.concatenate([projected(strings(batch, "text", start, start + _CHUNK), FEATURES_VERSION, DIMS) for start in starts])


def words(batch: SampleBatch) -> list[list[str]]:
    """The lower-cased words of each sample, English stop words left out."""
    return [words_of(text) for text in strings(batch, "text")]


def preview(batch: SampleBatch, index: int) -> dict[str, Any]:
    """{"kind": "text", "text": the first 2,000 characters, "cut": whether there are more}."""
    text = strings(batch, "text", index, index + 1)[0]
    return {"kind": "text", "text": text[:_PREVIEW_CHARS], "cut": len(text) > _PREVIEW_CHARS}


def near_keys(batch: SampleBatch) -> list[bytes]:
    """Equal for texts that differ only in letter case, spacing and punctuation."""
    return [near_key(text) for text in strings(batch, "text")]


@functools.lru_cache(maxsize=8)
def _tokenizer(document: str, max_length: int) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_str(document)
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length)
    except Exception as error:  # noqa: BLE001 - the Rust binding raises bare Exception
        raise SpecError(
            "The tokenizer cannot be read.", detail=str(error)[:300], fix="Use the tokenizer.json that was saved with the model."
        ) from error
    return tokenizer


def _tokens(encodings: Sequence[Encoding], what: str, spec: Mapping[str, Any]) -> NDArray[Any]:
    length = int(spec["max_length"])
    out = np.full((len(encodings), length), spec["pad_id"] if what == "ids" else 0, spec["dtype"])
    for row, encoding in enumerate(encodings):
        numbers = {"ids": encoding.ids, "attention_mask": encoding.attention_mask, "type_ids": encoding.type_ids}[what][:length]
        out[row, : len(numbers)] = numbers
    return out
