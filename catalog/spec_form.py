"""An input spec put together from plain fields, for the common cases of each modality. Everything else is pasted as JSON."""

from __future__ import annotations

import json
from typing import Any

from django import forms

from gpuworker.core import input_spec
from gpuworker.core.errors import SpecError
from gpuworker.core.specs import MODALITIES

OUTPUTS = {
    "logits": "Logits: one number per label, any range",
    "probabilities": "Probabilities: one per label, adding up to 1",
    "sigmoid_logit": "One logit for the second of two labels",
    "sigmoid_probability": "One probability for the second of two labels",
}
LAYOUTS = {
    "image": (("NCHW", "channels first"), ("NHWC", "channels last"), ("flat", "flat")),
    "series": (("NCT", "channels first"), ("NTC", "steps first"), ("flat", "flat")),
}


def numbers(text: str) -> list[float]:
    """ "0.48, 0.45" -> [0.48, 0.45]. Raises ValidationError."""
    try:
        return [float(part) for part in text.replace(";", ",").split(",") if part.strip()]
    except ValueError as error:
        raise forms.ValidationError("Write numbers with commas between them, for example 0.48, 0.45, 0.41.") from error


def names(text: str) -> list[str]:
    """One name per line, or with commas between them on one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) == 1 and "," in lines[0]:
        lines = [part.strip() for part in lines[0].split(",") if part.strip()]
    return lines


class SpecFields(forms.Form):
    """Either `spec` holds the whole document, or the other fields describe it."""

    spec_by = forms.ChoiceField(
        choices=(("fields", "Fill in fields"), ("json", "Paste JSON")),
        initial="fields",
        widget=forms.RadioSelect,
        label="Describe the input",
    )
    modality = forms.ChoiceField(choices=[(spec.key, spec.label) for spec in MODALITIES.values()], label="What it reads")
    labels = forms.CharField(
        required=False,
        label="Labels",
        widget=forms.Textarea(attrs={"rows": 5}),
        help_text="One per line, in the order of the model's outputs.",
    )
    output_kind = forms.ChoiceField(choices=list(OUTPUTS.items()), label="What it answers", required=False)
    image_height = forms.IntegerField(required=False, min_value=1, max_value=1024, initial=28, label="Height", help_text="pixels")
    image_width = forms.IntegerField(required=False, min_value=1, max_value=1024, initial=28, label="Width", help_text="pixels")
    image_channels = forms.TypedChoiceField(
        choices=((1, "1 (grey)"), (3, "3 (RGB)")), coerce=int, empty_value="1", required=False, label="Channels"
    )
    image_layout = forms.ChoiceField(choices=LAYOUTS["image"], required=False, label="Layout")
    image_mean = forms.CharField(required=False, label="Mean", help_text="per channel, of values from 0 to 1")
    image_std = forms.CharField(required=False, label="Standard deviation", help_text="per channel")
    text_features = forms.IntegerField(
        required=False,
        min_value=2,
        max_value=1_048_576,
        initial=4096,
        label="Hashed features",
        help_text="columns of the matrix; paste JSON for a tokenizer",
    )
    text_ngrams = forms.ChoiceField(
        choices=(("1,1", "single words"), ("1,2", "words and pairs"), ("2,4", "2 to 4 characters")), required=False, label="Made of"
    )
    series_window = forms.IntegerField(
        required=False, min_value=1, max_value=65_536, initial=128, label="Window", help_text="steps per sample"
    )
    series_channels = forms.CharField(required=False, label="Channels", help_text="names, with commas between them")
    series_rate = forms.FloatField(required=False, min_value=1e-6, label="Rate", help_text="steps per second (Hz)")
    series_layout = forms.ChoiceField(choices=LAYOUTS["series"], required=False, label="Layout")
    table_columns = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 4}),
        label="Numeric columns",
        help_text="One per line, in the model's order; paste JSON for categories.",
    )
    pair_attributes = forms.CharField(
        required=False, label="Attributes", help_text="names, with commas between them; empty = similarity of the whole records"
    )
    spec = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 14, "spellcheck": "false", "class": "mono"}),
        label="Input spec (JSON)",
        help_text="The schema is at /api/spec-schema/.",
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        by_json = cleaned.get("spec_by") == "json"
        try:
            document = _loaded(cleaned.get("spec", "")) if by_json else compose(cleaned)
            cleaned["spec_document"] = input_spec.parse(document).to_json()
        except SpecError as error:
            self.add_error("spec" if by_json else None, " ".join(part for part in (error.title, error.detail, error.fix) if part))
        except forms.ValidationError as error:
            self.add_error(None, error)
        return cleaned


def _loaded(text: str) -> object:
    return input_spec.parse_text(text).to_json()


def compose(fields: dict[str, Any]) -> dict[str, Any]:
    """The document that plain fields describe; `input_spec.parse` checks it."""
    modality = fields.get("modality", "")
    makers = {"image": _image, "text": _text, "series": _series, "table": _table, "pair": _pair}
    if modality not in makers:
        raise forms.ValidationError("Choose what the model reads.")
    return {
        "modality": modality,
        "input": makers[modality](fields),
        "output": {"kind": fields.get("output_kind") or "logits"},
        "labels": names(fields.get("labels") or ""),
    }


def _image(fields: dict[str, Any]) -> dict[str, Any]:
    made = {
        "height": fields.get("image_height") or 28,
        "width": fields.get("image_width") or 28,
        "channels": int(fields.get("image_channels") or 1),
        "layout": fields.get("image_layout") or "NCHW",
    }
    return made | {key: numbers(fields[f"image_{key}"]) for key in ("mean", "std") if fields.get(f"image_{key}")}


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
        "channels": names(fields.get("series_channels") or ""),
        "layout": fields.get("series_layout") or "NCT",
    }
    return made | ({"rate_hz": fields["series_rate"]} if fields.get("series_rate") else {})


def _table(fields: dict[str, Any]) -> dict[str, Any]:
    return {"columns": [{"name": name, "kind": "numeric"} for name in names(fields.get("table_columns") or "")]}


def _pair(fields: dict[str, Any]) -> dict[str, Any]:
    attributes = names(fields.get("pair_attributes") or "")
    return {"kind": "similarity", "attributes": attributes} if attributes else {"kind": "record_similarity", "features": 8}


def as_text(document: dict[str, Any]) -> str:
    """A stored document as a person edits it: the database forgets the order of keys, the schema knows the one people write."""
    ordered = {key: document[key] for key in ("schema", "modality", "input", "output", "labels") if key in document}
    if isinstance(ordered.get("input"), dict):
        place = _places(ordered.get("modality", ""))
        ordered["input"] = dict(sorted(ordered["input"].items(), key=lambda item: place.get(item[0], len(place))))
    return json.dumps(ordered, indent=2, ensure_ascii=False)


def _places(modality: str) -> dict[str, int]:
    """Where each field of a modality's input stands in its schema."""
    schema = input_spec.INPUTS.get(modality, {"properties": {}})
    names = dict.fromkeys(name for option in schema.get("oneOf", [schema]) for name in option["properties"])
    return {name: place for place, name in enumerate(names)}
