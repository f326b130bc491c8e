"""Made-up samples fit every kind of input, and what is fed to the model has the shape and type that its spec promises."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from gpuworker.core.input_spec import INPUTS
from gpuworker.core.modalities import MODALITY_IMPLEMENTATIONS
from gpuworker.core.work.trial import COUNT, synthetic_batch
from tests.core.work.build import spec_of


def tokenizer() -> dict[str, Any]:
    made = Tokenizer(WordLevel({"[UNK]": 0, "good": 1, "bad": 2}, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    return json.loads(made.to_str())


IMAGE = {"height": 6, "width": 9}
CATEGORY = {"name": "colour", "kind": "category", "categories": ["red", "blue", "na"]}
CASES: list[tuple[str, dict[str, Any], tuple[int, ...], str]] = [
    ("image", IMAGE | {"channels": 3}, (3, 6, 9), "float32"),
    ("image", IMAGE | {"channels": 3, "layout": "NHWC", "dtype": "uint8", "range": [0, 255]}, (6, 9, 3), "uint8"),
    ("image", IMAGE | {"channels": 1, "layout": "flat", "dtype": "float16", "mean": [0.5], "std": [0.2]}, (54,), "float16"),
    ("image", {"height": 600, "width": 8, "channels": 1, "resize": "fit", "interpolation": "nearest"}, (1, 600, 8), "float32"),
    ("text", {"kind": "hashed_ngrams", "features": 32}, (32,), "float32"),
    ("text", {"kind": "hashed_ngrams", "features": 32, "analyzer": "char_wb", "ngrams": [2, 4], "norm": "none"}, (32,), "float32"),
    ("text", {"kind": "tokenizer", "tokenizer": tokenizer(), "max_length": 5}, (5,), "int64"),
    ("text", {"kind": "tokenizer", "tokenizer": tokenizer(), "max_length": 7, "dtype": "int32", "pad_id": 2}, (7,), "int32"),
    ("series", {"window": 16, "channels": ["ax", "ay"]}, (2, 16), "float32"),
    ("series", {"window": 16, "channels": ["ax", "ay"], "layout": "NTC", "rate_hz": 50, "mean": [0], "std": [2]}, (16, 2), "float32"),
    ("series", {"window": 1, "channels": ["ecg"], "layout": "flat"}, (1,), "float32"),
    ("table", {"columns": [{"name": "id", "kind": "numeric"}, CATEGORY, {"name": "target", "kind": "numeric"}]}, (5,), "float32"),
    ("table", {"columns": [{"name": " spaced <b>", "kind": "numeric", "mean": 3, "std": 2, "missing": 1}]}, (1,), "float32"),
    ("pair", {"kind": "hashed_pair", "features": 16}, (64,), "float32"),
    ("pair", {"kind": "hashed_pair", "features": 16, "attributes": ["name", "price"]}, (64,), "float32"),
    ("pair", {"kind": "record_similarity", "features": 8}, (8,), "float32"),
]


@pytest.mark.parametrize(("modality", "given", "shape", "dtype"), CASES)
def test_made_up_samples_are_fed_as_promised(modality: str, given: dict[str, Any], shape: tuple[int, ...], dtype: str) -> None:
    spec = spec_of(modality, given)
    batch = synthetic_batch(spec)
    assert batch.n == COUNT and batch.modality == modality
    (array,) = MODALITY_IMPLEMENTATIONS[modality].encode(batch, 0, COUNT, spec.input, ["x"]).values()
    assert (array.shape, str(array.dtype)) == ((COUNT, *shape), dtype)
    assert np.isfinite(array.astype(np.float64)).all()


def test_pair_similarities_have_a_block_per_attribute() -> None:
    spec = spec_of("pair", {"kind": "similarity", "attributes": ["name", "price", "brand"]})
    (array,) = MODALITY_IMPLEMENTATIONS["pair"].encode(synthetic_batch(spec), 0, COUNT, spec.input, ["x"]).values()
    assert array.shape[0] == COUNT and array.shape[1] % 3 == 0 and np.isfinite(array).all()


def test_every_kind_of_input_has_a_case() -> None:
    kinds = {key: {option["properties"]["kind"]["const"] for option in schema.get("oneOf", [])} for key, schema in INPUTS.items()}
    tried = {key: {given["kind"] for modality, given, *_ in CASES if modality == key and "kind" in given} for key in INPUTS}
    tried["pair"].add("similarity")
    assert tried == kinds and {modality for modality, *_ in CASES} == set(INPUTS)


def test_the_same_spec_is_tried_on_the_same_samples() -> None:
    spec = spec_of("series", {"window": 16, "channels": ["ax"]})
    one, two = synthetic_batch(spec), synthetic_batch(spec)
    assert all(np.array_equal(one.arrays[name], two.arrays[name]) for name in one.arrays)
    assert len(np.unique(one.arrays["values"], axis=0)) == COUNT, "the made-up samples differ"
