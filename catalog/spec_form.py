"""An input spec put together from plain fields, for the common cases of each modality. Everything else is pasted as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from gpuworker.core import input_spec
from gpuworker.core.errors import SpecError
from gpuworker.core.specs import MODALITIES

OUTPUTS = {
    "logits": _("Logits: one number per label, any range"),
    "probabilities": _("Probabilities: one per label, adding up to 1"),
    "sigmoid_logit": _("One logit for the second of two labels"),
    "sigmoid_probability": _("One probability for the second of two labels"),
}
LAYOUTS = {
    "image": (("NCHW", _("channels first")), ("NHWC", _("channels last")), ("flat", _("flat"))),
    "series": (("NCT", _("channels first")), ("NTC", _("steps first")), ("flat", _("flat"))),
}


def numbers(fields: dict[str, Any], name: str) -> list[float]:
    """ "0.48, 0.45" -> [0.48, 0.45]. Raises ValidationError of that field."""
    try:
        return [float(part) for part in fields[name].replace(";", ",").split(",") if part.strip()]
    except ValueError as error:
        raise forms.ValidationError({name: _("Write numbers with commas between them, for example 0.48, 0.45, 0.41.")}) from error


def names(text: str) -> list[str]:
    """One name per line, or with commas between them on one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) == 1 and "," in lines[0]:
        lines = [part.strip() for part in lines[0].split(",") if part.strip()]
    return lines


class SpecFields(forms.Form):
    """Either `spec` holds the whole document, or the other fields describe it."""

    spec_by = forms.ChoiceField(
        choices=(("fields", _("Fill in fields")), ("json", _("Paste JSON"))),
        initial="fields",
        widget=forms.RadioSelect,
        label=_("Describe the input"),
    )
    modality = forms.ChoiceField(choices=[(spec.key, spec.label) for spec in MODALITIES.values()], label=_("What it reads"))
    labels = forms.CharField(
        required=False,
        label=_("Labels"),
        widget=forms.Textarea(attrs={"rows": 5}),
        help_text=_("One per line, in the order of the model's outputs."),
    )
    output_kind = forms.ChoiceField(choices=list(OUTPUTS.items()), label=_("What it answers"), required=False)
    image_height = forms.IntegerField(required=False, min_value=1, max_value=1024, initial=28, label=_("Height"), help_text=_("pixels"))
    image_width = forms.IntegerField(required=False, min_value=1, max_value=1024, initial=28, label=_("Width"), help_text=_("pixels"))
    image_channels = forms.TypedChoiceField(
        choices=((1, _("1 (grey)")), (3, _("3 (RGB)"))), coerce=int, empty_value="1", required=False, label=_("Channels")
    )
    image_layout = forms.ChoiceField(choices=LAYOUTS["image"], required=False, label=_("Layout"))
    image_mean = forms.CharField(required=False, label=_("Mean"), help_text=_("per channel, of values from 0 to 1"))
    image_std = forms.CharField(required=False, label=_("Standard deviation"), help_text=_("per channel"))
    text_features = forms.IntegerField(
        required=False,
        min_value=2,
        max_value=1_048_576,
        initial=4096,
        label=_("Hashed features"),
        help_text=_("columns of the matrix; paste JSON for a tokenizer"),
    )
    text_ngrams = forms.ChoiceField(
        choices=(("1,1", _("single words")), ("1,2", _("words and pairs")), ("2,4", _("2 to 4 characters"))),
        required=False,
        label=_("Made of"),
    )
    series_window = forms.IntegerField(
        required=False, min_value=1, max_value=65_536, initial=128, label=_("Window"), help_text=_("steps per sample")
    )
    series_channels = forms.CharField(required=False, label=_("Channels"), help_text=_("names, with commas between them"))
    series_rate = forms.FloatField(required=False, min_value=1e-6, label=_("Rate"), help_text=_("steps per second (Hz)"))
    series_layout = forms.ChoiceField(choices=LAYOUTS["series"], required=False, label=_("Layout"))
    table_columns = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 4}),
        label=_("Numeric columns"),
        help_text=_("One per line, in the model's order; paste JSON for categories."),
    )
    pair_attributes = forms.CharField(
        required=False, label=_("Attributes"), help_text=_("names, with commas between them; empty = similarity of the whole records")
    )
    spec = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 14, "spellcheck": "false", "class": "mono"}),
        label=_("Input spec (JSON)"),
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        by_json = cleaned.get("spec_by") == "json"
        try:
            document = input_spec.parse_text(cleaned.get("spec", "")).to_json() if by_json else compose(cleaned)
            cleaned["spec_document"] = input_spec.parse(document).to_json()
        except SpecError as error:
            self.add_error("spec" if by_json else None, error.text)
        except forms.ValidationError as error:
            self.add_error(None, error)
        return cleaned


def compose(fields: dict[str, Any]) -> dict[str, Any]:
    """The document that plain fields describe; `input_spec.parse` checks it. Raises ValidationError by field where one lacks something."""
    modality = fields.get("modality", "")
    makers = {"image": _image, "text": _text, "series": _series, "table": _table, "pair": _pair}
    if modality not in makers:
        raise forms.ValidationError({"modality": _("Choose what the model reads.")})
    labels = names(fields.get("labels") or "")
    if len(labels) < 2:
        raise forms.ValidationError({"labels": _("Write at least two labels, one per line.")})
    if len(set(labels)) < len(labels):
        raise forms.ValidationError({"labels": _("Two labels are the same.")})
    return {
        "modality": modality,
        "input": makers[modality](fields),
        "output": {"kind": fields.get("output_kind") or "logits"},
        "labels": labels,
    }


def _required(fields: dict[str, Any], name: str, message: Any) -> list[str]:
    found = names(fields.get(name) or "")
    if not found:
        raise forms.ValidationError({name: message})
    return found


def _image(fields: dict[str, Any]) -> dict[str, Any]:
    made = {
        "height": fields.get("image_height") or 28,
        "width": fields.get("image_width") or 28,
        "channels": int(fields.get("image_channels") or 1),
        "layout": fields.get("image_layout") or "NCHW",
    }
    return made | {key: numbers(fields, f"image_{key}") for key in ("mean", "std") if fields.get(f"image_{key}")}


def _text(fields: dict[str, Any]) -> dict[str, Any]:
    low, high = (fields.get("text_ngrams") or "1,1").split(",")
    return {
        "kind": "hashed_ngrams",
        "features": fields.get("text_features") or 4096,
        "analyzer": "char_wb" if low == "2" else "word",
        "ngrams": [int(low), int(high)],
    }


def _series(fields: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "window": fields.get("series_window") or 128,
        "channels": _required(fields, "series_channels", _("Name at least one channel.")),
        "layout": fields.get("series_layout") or "NCT",
    }
    return made | ({"rate_hz": fields["series_rate"]} if fields.get("series_rate") else {})


def _table(fields: dict[str, Any]) -> dict[str, Any]:
    return {"columns": [{"name": name, "kind": "numeric"} for name in _required(fields, "table_columns", _("Name at least one column."))]}


def _pair(fields: dict[str, Any]) -> dict[str, Any]:
    attributes = names(fields.get("pair_attributes") or "")
    return {"kind": "similarity", "attributes": attributes} if attributes else {"kind": "record_similarity", "features": 8}


def as_text(document: dict[str, Any]) -> str:
    """A stored document as a person edits it: the database forgets the order of keys, the schema knows the one people write."""
    schema = input_spec.SCHEMA["properties"] | {"input": input_spec.INPUTS.get(document.get("modality", ""), {})}
    return json.dumps(_ordered(document, {"properties": schema}), indent=2, ensure_ascii=False)


def _ordered(value: Any, schema: Mapping[str, Any]) -> Any:
    """The same value with its keys in the order of the schema; keys the schema does not know come last."""
    if isinstance(value, list):
        return [_ordered(item, schema.get("items", {})) for item in value]
    if not isinstance(value, dict):
        return value
    if "oneOf" in schema:
        schema = next((option for option in schema["oneOf"] if option["properties"]["kind"]["const"] == value.get("kind")), {})
    known: Mapping[str, Any] = schema.get("properties", {})
    names = [*(name for name in known if name in value), *(name for name in value if name not in known)]
    return {name: _ordered(value[name], known.get(name, {})) for name in names}
