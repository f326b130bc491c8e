"""The input spec: one JSON document that says how samples become a model's inputs and what its outputs mean.

Torch-free. `SCHEMA` is the published JSON schema (JSON Schema 2020-12); `parse` checks a document against it and
against the relations that a schema cannot say. Encoders in `modalities/` read the parsed document.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema

from gpuworker.core.errors import SpecError
from gpuworker.core.texts import is_storable

VERSION = "modelshop.spec/1"
MAX_LABELS = 5_000
MAX_DEPTH = 64
MAX_NUMBER = 1e30

_NUMBERS = {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 4_096}
_NAMES = {
    "type": "array",
    "items": {"type": "string", "minLength": 1, "maxLength": 200},
    "minItems": 1,
    "maxItems": 4_096,
    "uniqueItems": True,
}


def _object(required: tuple[str, ...], properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": False}


IMAGE_INPUT = _object(
    ("height", "width", "channels"),
    {
        "height": {"type": "integer", "minimum": 1, "maximum": 1024},
        "width": {"type": "integer", "minimum": 1, "maximum": 1024},
        "channels": {"enum": [1, 3], "description": "1 = grey, 3 = RGB"},
        "layout": {"enum": ["NCHW", "NHWC", "flat"], "default": "NCHW", "description": "flat = one vector per sample, channels first"},
        "resize": {"enum": ["stretch", "fit", "crop"], "default": "stretch"},
        "interpolation": {"enum": ["nearest", "bilinear", "bicubic", "lanczos"], "default": "bilinear"},
        "invert": {"type": "boolean", "default": False, "description": "255 - x before scaling"},
        "range": {
            "type": "array",
            "items": {"type": "number"},
            "minItems": 2,
            "maxItems": 2,
            "default": [0, 1],
            "description": "what 0 and 255 become",
        },
        "mean": _NUMBERS | {"description": "per channel, after range"},
        "std": _NUMBERS | {"description": "per channel, after range"},
        "dtype": {"enum": ["float32", "float16", "uint8"], "default": "float32"},
    },
)
TEXT_INPUT = {
    "oneOf": [
        _object(
            ("kind", "features"),
            {
                "kind": {"const": "hashed_ngrams", "description": "a (N, features) float32 matrix"},
                "features": {"type": "integer", "minimum": 2, "maximum": 1_048_576},
                "analyzer": {"enum": ["word", "char", "char_wb"], "default": "word"},
                "ngrams": {
                    "type": "array",
                    "items": {"type": "integer", "minimum": 1, "maximum": 8},
                    "minItems": 2,
                    "maxItems": 2,
                    "default": [1, 1],
                },
                "lowercase": {"type": "boolean", "default": True},
                "weighting": {"enum": ["count", "binary", "log"], "default": "count"},
                "norm": {"enum": ["l1", "l2", "none"], "default": "l2"},
            },
        ),
        _object(
            ("kind", "tokenizer", "max_length"),
            {
                "kind": {"const": "tokenizer", "description": "token ids made by a tokenizer.json of the `tokenizers` package"},
                "tokenizer": {"type": "object", "description": "the content of tokenizer.json"},
                "max_length": {"type": "integer", "minimum": 1, "maximum": 4_096},
                "pad_id": {"type": "integer", "minimum": 0, "default": 0},
                "inputs": {
                    "type": "object",
                    "description": "model input name > what it is fed; default: the only input gets ids",
                    "additionalProperties": {"enum": ["ids", "attention_mask", "type_ids"]},
                },
                "dtype": {"enum": ["int64", "int32"], "default": "int64"},
            },
        ),
    ]
}
SERIES_INPUT = _object(
    ("window", "channels"),
    {
        "window": {"type": "integer", "minimum": 1, "maximum": 65_536, "description": "steps per sample"},
        "channels": _NAMES,
        "units": {"type": "array", "items": {"type": "string", "maxLength": 40}, "description": "per channel"},
        "rate_hz": {"type": "number", "exclusiveMinimum": 0},
        "layout": {"enum": ["NCT", "NTC", "flat"], "default": "NCT"},
        "mean": _NUMBERS | {"description": "per channel"},
        "std": _NUMBERS | {"description": "per channel"},
    },
)
TABLE_INPUT = _object(
    ("columns",),
    {
        "columns": {
            "type": "array",
            "minItems": 1,
            "maxItems": 4_096,
            "items": {
                "oneOf": [
                    _object(
                        ("name", "kind"),
                        {
                            "name": {"type": "string", "minLength": 1, "maxLength": 200},
                            "kind": {"const": "numeric", "description": "one float32 input column"},
                            "missing": {"type": "number", "description": "fills an empty cell; default: the mean, else 0"},
                            "mean": {"type": "number"},
                            "std": {"type": "number", "exclusiveMinimum": 0},
                        },
                    ),
                    _object(
                        ("name", "kind", "categories"),
                        {
                            "name": {"type": "string", "minLength": 1, "maxLength": 200},
                            "kind": {"const": "category", "description": "one-hot over the categories, unseen values are all zero"},
                            "categories": {
                                "type": "array",
                                "items": {"type": "string", "maxLength": 200},
                                "minItems": 1,
                                "maxItems": 1_000,
                            },
                        },
                    ),
                ]
            },
        }
    },
)
PAIR_INPUT = {
    "oneOf": [
        _object(
            ("kind", "attributes"),
            {
                "kind": {"const": "similarity", "description": "similarities per attribute, documented in modalities/pair.py"},
                "attributes": _NAMES,
            },
        ),
        _object(
            ("kind", "features"),
            {
                "kind": {
                    "const": "hashed_pair",
                    "description": "[left, right, |left - right|, left * right] of hashed word counts of the whole record",
                },
                "features": {"type": "integer", "minimum": 2, "maximum": 65_536},
                "attributes": _NAMES | {"description": "default: all"},
            },
        ),
        _object(
            ("kind", "features"),
            {
                "kind": {"const": "record_similarity", "description": "similarities of the two whole records; the same for any attributes"},
                "features": {"const": 8},
            },
        ),
    ]
}

INPUTS: dict[str, dict[str, Any]] = {
    "image": IMAGE_INPUT,
    "text": TEXT_INPUT,
    "series": SERIES_INPUT,
    "table": TABLE_INPUT,
    "pair": PAIR_INPUT,
}

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Modelshop input spec and label space",
    "type": "object",
    "required": ["modality", "input", "output", "labels"],
    "additionalProperties": False,
    "properties": {
        "schema": {"const": VERSION},
        "modality": {"enum": list(INPUTS)},
        "input": {"type": "object"},
        "output": _object(
            ("kind",),
            {
                "kind": {
                    "enum": ["logits", "probabilities", "sigmoid_logit", "sigmoid_probability"],
                    "description": "sigmoid_*: one column, two labels, the column is the second",
                },
                "name": {"type": "string", "maxLength": 400, "description": "which output, when the model has several; default: the first"},
            },
        ),
        "labels": {
            "type": "array",
            "items": {"type": "string", "minLength": 1, "maxLength": 200},
            "minItems": 2,
            "maxItems": MAX_LABELS,
            "uniqueItems": True,
        },
    },
    "allOf": [
        {"if": {"properties": {"modality": {"const": key}}}, "then": {"properties": {"input": schema}}} for key, schema in INPUTS.items()
    ],
}
_VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


@dataclass(frozen=True, slots=True)
class InputSpec:
    """A checked spec. `input` has every default filled in; `labels` is ordered as the model's outputs."""

    modality: str
    input: Mapping[str, Any]
    output: Mapping[str, Any]
    labels: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": VERSION,
            "modality": self.modality,
            "input": dict(self.input),
            "output": dict(self.output),
            "labels": list(self.labels),
        }


def parse(document: object) -> InputSpec:
    """Check a spec document (parsed JSON). Raises SpecError naming the place, what was found and what was expected."""
    _check_plain(document)
    error = jsonschema.exceptions.best_match(_VALIDATOR.iter_errors(document))
    if error is not None:
        place = "/".join(str(part) for part in error.absolute_path) or "the document"
        raise SpecError(
            "The input spec does not fit its schema.",
            detail=f"At {place}: {_short(error.message)}",
            fix="See the schema at /api/spec-schema/.",
        )
    assert isinstance(document, dict)
    filled = _with_defaults(INPUTS[document["modality"]], document["input"])
    for key in ("mean", "std"):
        _check_per_channel(document["modality"], filled, key)
    if document["output"]["kind"].startswith("sigmoid") and len(document["labels"]) != 2:
        raise SpecError(
            "A sigmoid output needs two labels.",
            detail=f"Found {len(document['labels'])} labels.",
            fix="Name the negative label first, the positive second.",
        )
    return InputSpec(document["modality"], filled, dict(document["output"]), tuple(document["labels"]))


def parse_text(text: str | bytes) -> InputSpec:
    """As `parse`, from JSON text."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpecError("The input spec is not JSON.", detail=_short(str(error)), fix="Save it as a JSON object, UTF-8.") from error
    return parse(document)


def _with_defaults(schema: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, Any]:
    if "oneOf" in schema:
        schema = next(option for option in schema["oneOf"] if option["properties"]["kind"]["const"] == value["kind"])
    properties = schema["properties"]
    defaults = {name: item["default"] for name, item in properties.items() if "default" in item}
    return defaults | {name: _whole(properties[name], item) for name, item in value.items()}


def _whole(schema: Mapping[str, Any], value: Any) -> Any:
    """JSON Schema takes 4.0 for an integer; a size must be one."""
    if schema.get("type") == "integer" or (schema.get("const") == value and isinstance(value, float)) or schema.get("enum") == [1, 3]:
        return int(value)
    return [_whole(schema["items"], item) for item in value] if schema.get("type") == "array" and "items" in schema else value


def _check_plain(document: object) -> None:
    """Raises SpecError for what no model means and no database stores: NaN, huge numbers, NUL, half characters, deep nesting."""
    stack: list[tuple[object, int]] = [(document, 0)]
    while stack:
        value, depth = stack.pop()
        wrong = ""
        if depth > MAX_DEPTH:
            wrong = f"It nests deeper than {MAX_DEPTH} levels."
        elif isinstance(value, str) and not is_storable(value):
            wrong = f"The text {ascii(value[:60])} holds a character that cannot be stored."
        elif isinstance(value, int | float) and not isinstance(value, bool) and not abs(value) <= MAX_NUMBER:
            wrong = f"A number is not between -{MAX_NUMBER:g} and {MAX_NUMBER:g}."
        if wrong:
            raise SpecError("The input spec holds something that cannot be used.", detail=wrong, fix="Correct it and try again.")
        if isinstance(value, dict):
            stack += [(item, depth + 1) for pair in value.items() for item in pair]
        elif isinstance(value, list):
            stack += [(item, depth + 1) for item in value]


def _check_per_channel(modality: str, spec: Mapping[str, Any], key: str) -> None:
    if modality not in ("image", "series") or key not in spec:
        return
    channels = spec["channels"] if modality == "image" else len(spec["channels"])
    if len(spec[key]) not in (1, channels):
        raise SpecError(
            f"`{key}` does not fit the channels.",
            detail=f"Expected 1 or {channels} numbers, found {len(spec[key])}.",
            fix="Give one number per channel.",
        )
    if key == "std" and min(spec[key]) <= 0:
        raise SpecError("`std` must be positive.", detail=f"Found {min(spec[key])}.", fix="Use the standard deviation of each channel.")


def _short(text: str) -> str:
    return text if len(text) <= 300 else text[:297] + "..."
