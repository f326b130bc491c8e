"""How a person wants a sample set read, and how much of it may be read. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import jsonschema

from gpuworker.core.errors import UnreadableSamples

_NAME = {"type": "string", "minLength": 1, "maxLength": 400}
_NAMES = {"type": "array", "items": _NAME, "maxItems": 5_000, "uniqueItems": True}

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Modelshop reading options",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "columns": _NAMES | {"description": "input columns; text: the one column that holds the text"},
        "label_column": _NAME,
        "labels_from": {
            "enum": ["auto", "none", "folder"],
            "description": "auto: label_column, or y of an .npz; folder: the last folder of a path",
        },
        "label_names": _NAMES | {"description": "the labels in order; whole numbers count into them"},
        "where_column": _NAME | {"description": "with where_value: keep only rows whose cell reads so"},
        "where_value": {"type": "string", "maxLength": 400},
        "delimiter": {"enum": [",", ";", "\t", "|", " "]},
        "encoding": {"enum": ["utf-8", "utf-16", "latin-1", "cp1252"]},
        "limit": {"type": "integer", "minimum": 1, "description": "usable samples to keep, from the start"},
        "layout": {"enum": ["NHWC", "NCHW", "NTC", "NCT", "long", "wide"]},
        "window": {"type": "integer", "minimum": 1, "maximum": 65_536, "description": "steps per sample"},
        "stride": {"type": "integer", "minimum": 1, "maximum": 65_536, "description": "steps between windows; default: window"},
        "sample_column": _NAME | {"description": "long form: rows of one recording share its value"},
        "time_column": _NAME | {"description": "long form: orders the rows of a recording"},
        "channel_names": _NAMES,
        "units": {"type": "array", "items": {"type": "string", "maxLength": 40}, "maxItems": 4_096},
        "rate_hz": {"type": "number", "exclusiveMinimum": 0},
        "scale": {"type": "number", "description": "series: stored numbers times this are the real ones"},
        "array": _NAME | {"description": ".npz: the name of the array that holds the samples"},
    },
    "dependentRequired": {"where_column": ["where_value"], "where_value": ["where_column"], "stride": ["window"]},
}
_VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Checked options; an empty value means "not given". See `SCHEMA` for what each one says."""

    columns: tuple[str, ...] = ()
    label_column: str = ""
    labels_from: Literal["auto", "none", "folder"] = "auto"
    label_names: tuple[str, ...] = ()
    where_column: str = ""
    where_value: str = ""
    delimiter: str = ""
    encoding: str = "utf-8"
    limit: int = 0
    layout: str = ""
    window: int = 0
    stride: int = 0
    sample_column: str = ""
    time_column: str = ""
    channel_names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    rate_hz: float = 0.0
    scale: float = 0.0
    array: str = ""


def parse_options(document: Mapping[str, Any]) -> ReadOptions:
    """Check parsed JSON against `SCHEMA`. Raises UnreadableSamples naming the option, what was found and what was expected."""
    error = jsonschema.exceptions.best_match(_VALIDATOR.iter_errors(document))
    if error is not None:
        place = "/".join(str(part) for part in error.absolute_path) or "the options"
        raise UnreadableSamples(
            "The reading options do not fit.", detail=f"At {place}: {error.message[:300]}", fix="Choose columns, labels and window again."
        )
    return ReadOptions(**{f.name: _frozen(document[f.name]) for f in fields(ReadOptions) if f.name in document})


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@dataclass(frozen=True, slots=True)
class Caps:
    """How much may be read. A breach skips the file, entry or row concerned and says so; nothing over a cap is inflated."""

    file_bytes: int = 2 << 30  # one file as stored
    rows: int = 200_000  # samples of a set, and rows of a file that are looked at
    cells: int = 20_000_000  # rows times columns of a set
    columns: int = 4_096
    cell_chars: int = 100_000
    text_chars: int = 1 << 28  # all text of a set; a small Parquet file can repeat one long text for ever
    line_chars: int = 4_000_000
    entries: int = 20_000  # of a zip
    entry_bytes: int = 64 << 20  # one image file
    inflated_bytes: int = 2 << 30  # all entries of a zip, all arrays of an .npz, one Parquet file
    ratio: int = 200  # inflated over stored bytes of a zip entry that holds an image
    pixels: int = 64_000_000  # of one image, before scaling
    side: int = 512  # longest side kept; larger images are scaled down with Lanczos
    decoded_bytes: int = 1 << 30  # all images of a set, decoded: many files lower the side that is kept
    problems: int = 1_000  # listed one by one


DEFAULT_CAPS = Caps()
