"""An input spec as people read it: a few facts in a fixed order, in words. The document itself is shown beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from catalog.spec_form import LAYOUTS, OUTPUTS
from gpuworker.core.specs import MODALITIES

Input = Mapping[str, Any]
Facts = list[tuple[str, str]]
MOST_NAMES = 30


@dataclass(frozen=True, slots=True)
class SpecFact:
    label: str
    text: str


def spec_facts(document: Mapping[str, Any]) -> list[SpecFact]:
    """What a model reads, how it is prepared, and what it answers. `document`: a checked spec, `input_spec.parse(...).to_json()`."""
    modality, inputs = document["modality"], document["input"]
    facts = [(_("Reads"), MODALITIES[modality].label), *_INPUTS[modality](inputs), *_output(document["output"])]
    return [SpecFact(label, text) for label, text in facts if text]


def _image(spec: Input) -> Facts:
    height, width = spec["height"], spec["width"]
    colours = _("grey") if spec["channels"] == 1 else _("red, green, blue")
    low, high = spec.get("range", (0, 1))
    values = _("0 to 255 becomes %(low)s to %(high)s") % {"low": _number(low), "high": _number(high)}
    resize = {
        "stretch": _("stretched to this size"),
        "fit": _("scaled to fit, the rest filled"),
        "crop": _("scaled to fill, the rest cut off"),
    }
    return [
        (_("Size"), _("%(width)d × %(height)d pixels, %(colours)s") % {"width": width, "height": height, "colours": colours}),
        (_("Other sizes are"), f"{resize[spec.get('resize', 'stretch')]} ({spec.get('interpolation', 'bilinear')})"),
        (_("Values"), f"{values}, {_('inverted first')}" if spec.get("invert") else values),
        *_normalised(spec),
        (_("Array"), _array(LAYOUTS["image"], spec.get("layout", "NCHW"), spec.get("dtype", "float32"))),
    ]


def _text(spec: Input) -> Facts:
    if spec["kind"] == "tokenizer":
        fed = spec.get("inputs") or {}
        return [
            (_("Becomes"), _("token ids of its own tokenizer")),
            (_("Length"), _("at most %(n)s tokens, filled up with id %(pad)d") % {"n": _number(spec["max_length"]), "pad": spec["pad_id"]}),
            (_("Inputs"), ", ".join(f"{name}: {value.replace('_', ' ')}" for name, value in sorted(fed.items()))),
            (_("Array"), spec.get("dtype", "int64")),
        ]
    weights = {"count": _("how often each occurs"), "binary": _("whether each occurs"), "log": _("logarithm of how often each occurs")}
    norms = {"l1": _("divided by their sum (L1)"), "l2": _("scaled to length one (L2)"), "none": ""}
    weighting = [weights[spec.get("weighting", "count")], norms[spec.get("norm", "l2")]]
    return [
        (_("Becomes"), _("%(n)s hashed columns") % {"n": _number(spec["features"])}),
        (_("Made of"), _pieces(spec.get("analyzer", "word"), *spec.get("ngrams", (1, 1)))),
        (_("Values"), ", ".join(part for part in weighting if part)),
        (_("Capital letters"), _("made small") if spec.get("lowercase", True) else _("kept")),
    ]


def _pieces(analyzer: str, low: int, high: int) -> str:
    """What is counted: n-grams of words or characters, from `low` to `high` long."""
    if analyzer == "word" and high == 1:
        return _("single words")
    length = str(low) if low == high else f"{low}–{high}"
    runs = {
        "word": _("%(n)s words in a row"),
        "char": _("%(n)s characters in a row"),
        "char_wb": _("%(n)s characters in a row, within words"),
    }
    return runs[analyzer] % {"n": length}


def _series(spec: Input) -> Facts:
    units = spec.get("units") or []
    channels = [f"{name} ({units[i]})" if i < len(units) and units[i] else name for i, name in enumerate(spec["channels"])]
    rate = _("%(rate)s steps per second (Hz)") % {"rate": _number(spec["rate_hz"])} if spec.get("rate_hz") else ""
    return [
        (_("Window"), _("%(n)s steps per sample") % {"n": _number(spec["window"])}),
        (_("Rate"), rate),
        (_("Channels"), _names(channels)),
        *_normalised(spec),
        (_("Array"), _array(LAYOUTS["series"], spec.get("layout", "NCT"), "float32")),
    ]


def _table(spec: Input) -> Facts:
    columns = spec["columns"]
    numeric = [column["name"] for column in columns if column["kind"] == "numeric"]
    categories = [
        _("%(name)s (%(n)d values)") % {"name": column["name"], "n": len(column["categories"])}
        for column in columns
        if column["kind"] == "category"
    ]
    total = ngettext("%(n)d column", "%(n)d columns", len(columns)) % {"n": len(columns)}
    return [(_("Columns"), total), (_("Numbers"), _names(numeric)), (_("Categories"), _names(categories))]


def _pair(spec: Input) -> Facts:
    kinds = {
        "similarity": _("similarities of each attribute"),
        "hashed_pair": _("hashed word counts of both records, their difference and product"),
        "record_similarity": _("similarities of the two whole records, whatever their attributes"),
    }
    return [
        (_("Becomes"), kinds[spec["kind"]]),
        (_("Columns per record"), _number(spec["features"]) if spec["kind"] == "hashed_pair" else ""),
        (_("Attributes"), _names(spec.get("attributes") or [])),
    ]


_INPUTS: dict[str, Callable[[Input], Facts]] = {"image": _image, "text": _text, "series": _series, "table": _table, "pair": _pair}


def _output(spec: Mapping[str, Any]) -> Facts:
    return [(_("Answers"), OUTPUTS[spec["kind"]]), (_("Output used"), spec.get("name", ""))]


def _normalised(spec: Input) -> Facts:
    """Mean and standard deviation per channel, where given."""
    return [
        (_("Mean taken off"), ", ".join(_number(value) for value in spec.get("mean", ()))),
        (_("Divided by"), ", ".join(_number(value) for value in spec.get("std", ()))),
    ]


def _array(layouts: Sequence[tuple[str, object]], layout: str, dtype: str) -> str:
    words = str(dict(layouts)[layout])
    return f"{words}, {dtype}" if layout == "flat" else f"{words} ({layout}), {dtype}"


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_NAMES])
    if len(names) <= MOST_NAMES:
        return shown
    return _("%(names)s and %(n)d more") % {"names": shown, "n": len(names) - MOST_NAMES}


def _number(value: float) -> str:
    """As short as it can be, with the separators of the reader's language."""
    return number_format(f"{value:.6g}") if isinstance(value, float) else number_format(value, force_grouping=True)
