"""An input spec in words, and as a document in the order people write it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from catalog.spec_form import as_text
from catalog.spec_words import MOST_NAMES, spec_facts
from gpuworker.core import input_spec

LABELS = ["cat", "dog"]
DOCUMENTS: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "image": (
        {"height": 32, "width": 48, "channels": 3, "invert": True, "mean": [0.5, 0.25, 0.125], "layout": "NHWC"},
        [
            ("Reads", "Images"),
            ("Size", "48 × 32 pixels, red, green, blue"),
            ("Other sizes are", "stretched to this size (bilinear)"),
            ("Values", "0 to 255 becomes 0 to 1, inverted first"),
            ("Mean taken off", "0.5, 0.25, 0.125"),
            ("Array", "channels last (NHWC), float32"),
        ],
    ),
    "text": (
        {"kind": "hashed_ngrams", "features": 4096, "analyzer": "char_wb", "ngrams": [1, 3], "lowercase": False, "norm": "none"},
        [
            ("Reads", "Text"),
            ("Becomes", "4,096 hashed columns"),
            ("Made of", "1–3 characters in a row, within words"),
            ("Values", "how often each occurs"),
            ("Capital letters", "kept"),
        ],
    ),
    "series": (
        {"window": 1280, "channels": ["x", "y"], "units": ["g"], "rate_hz": 12.5},
        [
            ("Reads", "Time series"),
            ("Window", "1,280 steps per sample"),
            ("Rate", "12.5 steps per second (Hz)"),
            ("Channels", "x (g), y"),
            ("Array", "channels first (NCT), float32"),
        ],
    ),
    "table": (
        {"columns": [{"kind": "numeric", "name": "age"}, {"kind": "category", "name": "plan", "categories": ["a", "b", "c"]}]},
        [("Reads", "Tables"), ("Columns", "2 columns"), ("Numbers", "age"), ("Categories", "plan (3 values)")],
    ),
    "pair": (
        {"kind": "hashed_pair", "features": 1000, "attributes": ["name", "city"]},
        [
            ("Reads", "Entity pairs"),
            ("Becomes", "hashed word counts of both records, their difference and product"),
            ("Columns per record", "1,000"),
            ("Attributes", "name, city"),
        ],
    ),
}
TOKENIZER = {"kind": "tokenizer", "tokenizer": {}, "max_length": 1024, "inputs": {"mask": "attention_mask", "ids": "ids"}}


def parsed(modality: str, inputs: dict[str, Any], output: str = "logits") -> dict[str, Any]:
    return input_spec.parse({"modality": modality, "input": inputs, "output": {"kind": output}, "labels": LABELS}).to_json()


@pytest.mark.parametrize("modality", DOCUMENTS)
def test_every_modality_is_told_in_words_in_a_fixed_order(modality: str) -> None:
    inputs, expected = DOCUMENTS[modality]
    facts = [(fact.label, fact.text) for fact in spec_facts(parsed(modality, inputs))]
    assert facts == [*expected, ("Answers", "Logits: one number per label, any range")]
    shuffled = json.loads(json.dumps(parsed(modality, inputs), sort_keys=True))
    assert [(fact.label, fact.text) for fact in spec_facts(shuffled)] == facts


def test_every_kind_of_input_can_be_told() -> None:
    """A kind that the schema gains without words here would break the page of its models."""
    for modality, schema in input_spec.INPUTS.items():
        for option in schema.get("oneOf", [schema]):
            given = {"tokenizer": TOKENIZER, "similarity": {"kind": "similarity", "attributes": ["name"]}}
            kind = option["properties"].get("kind", {}).get("const", "")
            inputs = given.get(kind) or ({"kind": kind, "features": 8} if kind else DOCUMENTS[modality][0])
            for output in input_spec.SCHEMA["properties"]["output"]["properties"]["kind"]["enum"]:
                facts = spec_facts(parsed(modality, inputs, output))
                assert facts[-1].label == "Answers" and all(fact.text for fact in facts)
    told = {fact.label: fact.text for fact in spec_facts(parsed("text", TOKENIZER))}
    assert told["Length"] == "at most 1,024 tokens, filled up with id 0" and told["Inputs"] == "ids: ids, mask: attention mask"


def test_long_lists_are_cut() -> None:
    columns = [{"kind": "numeric", "name": f"c{place}"} for place in range(MOST_NAMES + 5)]
    told = {fact.label: fact.text for fact in spec_facts(parsed("table", {"columns": columns}))}
    assert told["Numbers"].endswith(f"c{MOST_NAMES - 1} and 5 more")


def test_the_document_has_the_order_of_its_schema_whatever_the_database_made_of_it() -> None:
    document = json.loads(json.dumps(parsed("table", DOCUMENTS["table"][0]), sort_keys=True))
    written = json.loads(as_text(document))
    assert list(written) == ["schema", "modality", "input", "output", "labels"]
    assert [list(column) for column in written["input"]["columns"]] == [["name", "kind"], ["name", "kind", "categories"]]
    image = json.loads(as_text(json.loads(json.dumps(parsed("image", DOCUMENTS["image"][0]), sort_keys=True))))
    assert list(image["input"])[:4] == ["height", "width", "channels", "layout"]
    assert json.loads(as_text(document)) == document
