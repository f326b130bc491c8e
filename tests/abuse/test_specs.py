"""Spec documents from anywhere: only SpecError comes out of the parser, and the parser and the published schema agree."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuworker.core.errors import SpecError
from gpuworker.core.input_spec import INPUTS, SCHEMA, InputSpec, parse, parse_text
from gpuworker.core.modalities import MODALITY_IMPLEMENTATIONS
from gpuworker.core.work.trial import synthetic_batch
from tests.catalog.makers import image_spec
from tests.core.work.test_trial import CASES

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from([4.0, 1e999, -1, "\0", "\ud800"])
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4), max_leaves=15
)
WORDS = sorted({key for schema in INPUTS.values() for option in schema.get("oneOf", [schema]) for key in option["properties"]})
SHAPED = st.fixed_dictionaries(
    {
        "modality": st.sampled_from([*INPUTS, "video"]) | SCALARS,
        "input": st.dictionaries(st.sampled_from(WORDS), JSON, max_size=6) | JSON,
        "output": st.fixed_dictionaries({"kind": st.sampled_from(["logits", "sigmoid_logit"]) | SCALARS}) | JSON,
        "labels": st.lists(st.text(min_size=1, max_size=5), max_size=4) | JSON,
    }
)
TOKENS: dict[str, Any] = {
    "modality": "text",
    "input": {"kind": "tokenizer", "tokenizer": {}, "max_length": 4},
    "output": {"kind": "logits"},
    "labels": ["a", "b"],
}
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def parsed(document: object) -> InputSpec | None:
    try:
        return parse(document)
    except SpecError as error:
        assert error.title and error.detail and error.fix
        return None


@QUICK
@given(JSON | SHAPED)
def test_no_document_breaks_the_parser(document: object) -> None:
    spec = parsed(document)
    if spec is not None:
        VALIDATOR.validate(spec.to_json())
        assert parse(spec.to_json()) == spec


@QUICK
@given(st.data())
def test_a_changed_sound_document_is_refused_or_still_works(data: st.DataObject) -> None:
    modality, sound, *_ = data.draw(st.sampled_from(CASES))
    document: dict[str, Any] = {"modality": modality, "input": copy.deepcopy(sound), "output": {"kind": "logits"}, "labels": ["a", "b"]}
    key = data.draw(st.sampled_from(sorted(document["input"])))
    small = st.integers(-2, 9) | st.floats(-2, 9) | st.sampled_from([4.0, 1.0, [1.0, 2.0], [0, 0], "", None, {}])
    document["input"][key] = data.draw(small | SCALARS)
    spec = parsed(document)
    if spec is None:
        return
    assert not VALIDATOR.is_valid(document) or json.dumps(spec.to_json(), allow_nan=False)
    if key != "tokenizer":
        assert synthetic_batch(spec).n >= 1, "a spec that parses can be tried"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_schema_and_parser_accept_the_same_sound_documents(case: tuple[str, dict[str, Any], Any, Any]) -> None:
    document = {"modality": case[0], "input": case[1], "output": {"kind": "logits"}, "labels": ["a", "b"]}
    VALIDATOR.validate(document)
    VALIDATOR.validate(parse(document).to_json())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"labels": ["a\0", "b"]}, "cannot be stored"),
        ({"labels": ["\ud800", "b"]}, "cannot be stored"),
        ({"input": {"height": 4, "width": 4, "channels": 1, "mean": [float("nan")]}}, "number"),
        ({"input": {"height": 4, "width": 4, "channels": 1, "range": [0, 10**400]}}, "number"),
        ({"input": {"height": 4, "width": 4, "channels": 1, "std": [0]}}, "0"),
        ({"input": {"height": 1 << 40, "width": 4, "channels": 1}}, "height"),
        ({"labels": [str(i) for i in range(5_001)]}, "labels"),
        ({"labels": ["a", "a"]}, "labels"),
        ({"__proto__": {}}, "__proto__"),
    ],
)  # fmt: skip
def test_what_no_model_means_is_named(change: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(image_spec() | change)
    assert says in f"{caught.value.title} {caught.value.detail}" and len(caught.value.detail) < 500


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"a":' * 50_000, b"\xff\xfe", "NaN", '{"labels": NaN}', '"text"'])
def test_texts_that_are_no_document(text: str | bytes) -> None:
    with pytest.raises(SpecError):
        parse_text(text)


def test_deep_nesting_is_refused_where_anything_may_stand() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5_000):
        deep = {"a": deep}
    with pytest.raises(SpecError, match="deeper"):
        parse(TOKENS | {"input": TOKENS["input"] | {"tokenizer": deep}})


def test_a_size_written_as_a_float_is_the_size() -> None:
    spec = parse(image_spec(input={"height": 4.0, "width": 4, "channels": 1.0}))
    assert (spec.input["height"], spec.input["channels"]) == (4, 1) and type(spec.input["height"]) is int
    assert type(spec.input["channels"]) is int


def test_a_tokenizer_that_is_none_is_named() -> None:
    spec = parse(TOKENS | {"input": TOKENS["input"] | {"tokenizer": {"model": {"type": "Evil"}}}})
    with pytest.raises(SpecError, match="tokenizer cannot be read"):
        MODALITY_IMPLEMENTATIONS["text"].encode(synthetic_batch(spec), 0, 1, spec.input, ["x"])
