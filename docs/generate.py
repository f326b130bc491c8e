"""Writes the parts of the docs that follow from the code, between `<!-- generated: NAME -->` and `<!-- end -->`.

    python -m docs.generate            write them again
    python -m docs.generate --check    name the pages that are out of date, code 1

Nothing between the marks is typed by hand; `tests/test_docs.py` fails when a page is out of date.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from drf_spectacular.generators import SchemaGenerator  # noqa: E402

from gpuworker.core.input_spec import INPUTS, SCHEMA  # noqa: E402
from gpuworker.core.modalities.options import DEFAULT_CAPS  # noqa: E402
from gpuworker.core.modalities.options import SCHEMA as OPTIONS  # noqa: E402
from gpuworker.core.specs import FORMATS, MODALITIES, SCORERS, SIGNATURES  # noqa: E402

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
RESULTS = ROOT / "bench" / "results"
BLOCK = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
MODEL_CAPS = (
    ("gpuworker.core.formats.onnx_file", "MAX_BYTES", "bytes", "An ONNX file"),
    ("gpuworker.core.formats.onnx_file", "MAX_GRAPH_DEPTH", "", "Nested graphs in an ONNX file"),
    ("gpuworker.core.formats.pt2_file", "MAX_TENSOR_BYTES", "bytes", "Tensors of a .pt2 archive"),
    ("gpuworker.core.formats.pt2_file", "MAX_JSON", "bytes", "The JSON graph of a .pt2 archive"),
    ("gpuworker.core.formats.safetensors", "MAX_BYTES", "bytes", "A safetensors file"),
    ("gpuworker.core.formats.safetensors", "MAX_CONFIG", "bytes", "Its config.json"),
    ("gpuworker.core.formats.archive", "MAX_ENTRIES", "", "Entries of an archive"),
    ("gpuworker.core.formats.archive", "MAX_TOTAL", "bytes", "An archive, unpacked"),
    ("gpuworker.core.formats.archive", "MAX_RATIO", "", "Unpacked to packed bytes"),
    ("gpuworker.core.program.model", "MAX_OPS", "", "Operators of a program"),
    ("gpuworker.core.program.model", "MAX_WEIGHTS", "", "Tensors of a program"),
    ("gpuworker.core.program.model", "MAX_PORTS", "", "Inputs and outputs of a program, each"),
    ("gpuworker.core.program.model", "MAX_RANK", "", "Dimensions of a tensor"),
    ("gpuworker.core.input_spec", "MAX_LABELS", "", "Labels of a model"),
)
CAP_WORDS = {
    "file_bytes": ("bytes", "One file as stored"),
    "rows": ("", "Samples of a set, and rows of a file that are looked at"),
    "cells": ("", "Rows times columns"),
    "columns": ("", "Columns"),
    "cell_chars": ("", "Characters of one cell"),
    "text_chars": ("", "Characters of all text of a set"),
    "line_chars": ("", "Characters of one line"),
    "entries": ("", "Entries of a zip"),
    "entry_bytes": ("bytes", "One image file in a zip"),
    "inflated_bytes": ("bytes", "All entries of a zip or arrays of an .npz, unpacked"),
    "ratio": ("", "Unpacked to packed bytes of a zip entry"),
    "pixels": ("", "Pixels of one image, before scaling"),
    "side": ("", "Longest side of an image that is kept; larger ones are scaled down"),
    "decoded_bytes": ("bytes", "All images of a set, decoded"),
    "problems": ("", "Bad files and rows listed one by one"),
}
Row = Iterable[object]


def table(head: Row, rows: Iterable[Row]) -> str:
    """A Markdown table; line breaks and bars in cells are escaped."""
    lines = [head, ["---" for _ in list(head)], *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines)


def amount(value: float, unit: str) -> str:
    """2 GiB for bytes, 20,000 for counts."""
    if unit != "bytes":
        return f"{value:,}"
    for name in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or name == "GiB":
            return f"{value:g} {name}"
        value /= 1024
    raise AssertionError("unreachable")


def formats() -> str:
    return table(
        ["format", "endings", "verdict"],
        (
            [spec.label, " ".join(f"`{e}`" for e in spec.extensions), _verdict(spec.accepted, spec.why, spec.instead)]
            for spec in FORMATS.values()
        ),
    )


def _verdict(accepted: bool, why: str, instead: str) -> str:
    return "accepted" if accepted else f"refused: {why} {instead}".strip()


def modalities() -> str:
    return table(
        ["kind", "files", "what they hold"], ([s.label, " ".join(f"`{e}`" for e in s.extensions), s.help] for s in MODALITIES.values())
    )


def scorers() -> str:
    head = ["key", "family", "what it says", "better", "needs", "runs the model", "predicts accuracy", "default", "source"]
    return table(
        head,
        (
            [
                f"`{s.key}`",
                s.family,
                s.help,
                s.direction,
                ", ".join(sorted(s.needs)).replace("|", " or "),
                _yes(s.cost == "forward"),
                _yes(s.predicts_accuracy),
                _yes(s.default),
                s.source,
            ]
            for s in SCORERS.values()
        ),
    )


def signatures() -> str:
    return table(
        ["part", "what it holds", "kinds of sample", "needs"],
        ([f"`{s.key}`", s.help, ", ".join(s.modalities), ", ".join(sorted(s.needs)) or "samples only"] for s in SIGNATURES.values()),
    )


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def commands() -> str:
    known: Mapping[str, str] = runpy.run_path(str(ROOT / "dev"))["COMMANDS"]
    return table(["command", "what it does"], ([f"`./dev {name}`", text] for name, text in known.items()))


def input_spec() -> str:
    parts = [_fields("The document", SCHEMA)]
    for key, schema in INPUTS.items():
        for number, option in enumerate(schema.get("oneOf", [schema]), start=1):
            kind = option["properties"].get("kind", {}).get("const", "")
            parts.append(_fields(f"`input` of {key}" + (f": {kind}" if kind else f" ({number})" if number > 1 else ""), option))
    return "\n\n".join(parts)


def _fields(title: str, schema: Mapping[str, Any]) -> str:
    needed = set(schema.get("required", ()))
    rows = ([f"`{name}`", _yes(name in needed), _type(item), _note(item)] for name, item in schema["properties"].items())
    return f"### {title}\n\n" + table(["field", "required", "value", "note"], rows)


def _type(item: Mapping[str, Any]) -> str:
    """A JSON schema in a few words."""
    if "const" in item:
        return f"`{json.dumps(item['const'])}`"
    if "enum" in item:
        return " or ".join(f"`{json.dumps(value)}`" for value in item["enum"])
    if "oneOf" in item:
        return " or ".join(_type(option) for option in item["oneOf"])
    match item.get("type"):
        case "array":
            return f"list of {_span(item, 'minItems', 'maxItems')}{_type(item['items'])}"
        case "string":
            return f"text{_span(item, 'minLength', 'maxLength', of=' of ')}".rstrip() + (" characters" if "maxLength" in item else "")
        case "integer" | "number" as kind:
            more = f" above {item['exclusiveMinimum']}" if "exclusiveMinimum" in item else ""
            return f"{'whole number' if kind == 'integer' else kind}{_span(item, 'minimum', 'maximum', of=', ')}".rstrip() + more
        case "boolean":
            return "`true` or `false`"
        case "object" if "properties" in item:
            return "object with " + ", ".join(f"`{name}`: {_type(part)}" for name, part in item["properties"].items())
    return str(item.get("type", "any"))


def _span(item: Mapping[str, Any], least: str, most: str, of: str = "") -> str:
    low, high = item.get(least), item.get(most)
    if low is None and high is None:
        return ""
    if low == high:
        return f"{of}{low:,} "
    if high is None:
        return f"{of}{low:,} or more "
    return f"{of}up to {high:,} " if low is None else f"{of}{low:,} to {high:,} "


def _note(item: Mapping[str, Any]) -> str:
    default = f"default `{json.dumps(item['default'])}`" if "default" in item else ""
    return "; ".join(part for part in (str(item.get("description", "")), default) if part)


def reading_options() -> str:
    return table(["option", "value", "note"], ([f"`{name}`", _type(item), _note(item)] for name, item in OPTIONS["properties"].items()))


def model_limits() -> str:
    rows = ([text, amount(getattr(import_module(module), name), unit)] for module, name, unit, text in MODEL_CAPS)
    return table(["what", "at most"], rows)


def sample_limits() -> str:
    rows = (
        [CAP_WORDS[field.name][1], amount(getattr(DEFAULT_CAPS, field.name), CAP_WORDS[field.name][0])] for field in fields(DEFAULT_CAPS)
    )
    return table(["what", "at most"], rows)


def rest() -> str:
    """Every operation of the OpenAPI schema."""
    schema = SchemaGenerator().get_schema(request=None, public=True)
    rows = [
        [f"`{method.upper()} {path}`", str(operation.get("summary") or operation.get("description", "")).split("\n")[0]]
        for path, operations in sorted(schema["paths"].items())
        for method, operation in operations.items()
        if method in ("get", "post", "put", "patch", "delete")
    ]
    return table(["request", "what it does"], rows)


def bench(name: str) -> Callable[[], str]:
    """The committed result of one benchmark: figures, then its tables."""

    def render() -> str:
        path = RESULTS / f"{name}.json"
        if not path.exists():
            return f"There is no committed result yet: run the command above and save it as `bench/results/{name}.json`."
        document = json.loads(path.read_text())
        machine = ", ".join(f"{key} {value}" for key, value in document["machine"].items())
        parts = [
            f"Commit `{document['commit']}`; {machine}.",
            table(["figure", "value"], ([f"`{k}`", _number(v)] for k, v in document["figures"].items() if not k.startswith("task."))),
        ]
        for title, rows in document["tables"].items():
            if rows:
                head = list(rows[0])
                parts.append(f"### {title}\n\n" + table(head, ([_number(row.get(column)) for column in head] for row in rows)))
        return "\n\n".join(parts)

    return render


def _number(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return _yes(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


BLOCKS: dict[str, Callable[[], str]] = {
    "formats": formats,
    "modalities": modalities,
    "scorers": scorers,
    "signatures": signatures,
    "commands": commands,
    "input-spec": input_spec,
    "reading-options": reading_options,
    "model-limits": model_limits,
    "sample-limits": sample_limits,
    "rest": rest,
    "bench-engine": bench("engine"),
    "bench-formats": bench("formats"),
    "bench-ranking": bench("ranking"),
    "bench-web": bench("web"),
}


def pages() -> list[Path]:
    return sorted(DOCS.rglob("*.md"))


def rendered(text: str) -> str:
    """The page with every block written anew. Raises KeyError for a block that nobody makes."""
    return BLOCK.sub(lambda match: f"{match[1]}\n{BLOCKS[match[2]]()}\n\n{match[3]}", text)


def main() -> int:
    stale = []
    for page in pages():
        before = page.read_text()
        after = rendered(before)
        if after != before:
            stale.append(page.relative_to(ROOT).as_posix())
            if "--check" not in sys.argv:
                page.write_text(after)
    if stale:
        sys.stdout.write(f"{'out of date' if '--check' in sys.argv else 'written'}: {', '.join(stale)}\n")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
