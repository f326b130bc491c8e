"""Forms of the search pages. They parse and check; what they mean is decided in services."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, time, timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.http import QueryDict
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models import Team, User
from gpuworker.core.specs import DROP_LEVEL, FAMILIES, MODALITIES, SCORERS, FamilySpec
from search.constraints import Constraints
from search.metrics import metric_document
from search.models import SampleSet
from search.selection import LabelSpace, Selection
from search.services import DEFAULT_SCORERS

MEGABYTE = 1_000_000
LAYOUTS = [
    ("", _("Guess")),
    ("NHWC", _("Images: rows, columns, channels (NHWC)")),
    ("NCHW", _("Images: channels first (NCHW)")),
    ("NTC", _("Series: steps, channels (NTC)")),
    ("NCT", _("Series: channels first (NCT)")),
    ("long", _("Series: one row per step (long)")),
    ("wide", _("Series: one row per sample (wide)")),
]
DELIMITERS = [("", _("Guess")), (",", _("Comma")), (";", _("Semicolon")), ("\t", _("Tab")), ("|", _("Bar"))]
# Which reading options are worth showing for a modality; the others wait under "more".
RELEVANT: dict[str, tuple[str, ...]] = {
    "": ("modality",),
    "image": ("modality", "layout", "limit"),
    "text": ("modality", "columns", "limit"),
    "series": ("modality", "window", "stride", "layout", "columns", "rate_hz"),
    "table": ("modality", "columns", "limit"),
    "pair": ("modality", "columns", "limit"),
}


METRICS = [
    ("accuracy", _("Accuracy")),
    ("macro_f1", _("Macro F1")),
    ("balanced_accuracy", _("Balanced accuracy")),
    ("f1", _("F1 of one label")),
]
NEVER = "never"
DROPS = [
    (str(DROP_LEVEL), _("Under 2 % (usual)")),
    ("0.005", _("Under 0.5 %: careful")),
    ("0.05", _("Under 5 %: fast")),
    (NEVER, _("Never: all run to the end")),
]


class NewSampleSetForm(forms.Form):
    """Finished uploads become a sample set. `uploads` are ids that the uploader adds as hidden fields."""

    name = forms.CharField(label=_("Name"), max_length=140, required=False, help_text=_("Empty: the name of the file or folder."))
    then = forms.CharField(required=False, widget=forms.HiddenInput)

    def uploads(self) -> list[str]:
        data = self.data
        return data.getlist("uploads") if isinstance(data, QueryDict) else list(data.get("uploads", []))


class ReadingForm(forms.Form):
    """How the files of a set are to be read. Empty fields are left to the guess."""

    modality = forms.ChoiceField(label=_("Kind of samples"), required=False)
    columns = forms.CharField(
        label=_("Columns"), required=False, max_length=4_000, help_text=_("Separated by commas. Text: the one column with the text.")
    )
    window = forms.IntegerField(label=_("Window"), required=False, min_value=1, max_value=65_536, help_text=_("Steps in one sample."))
    stride = forms.IntegerField(
        label=_("Stride"), required=False, min_value=1, max_value=65_536, help_text=_("Steps between windows; empty: the window.")
    )
    layout = forms.ChoiceField(label=_("Layout"), required=False, choices=LAYOUTS)
    rate_hz = forms.FloatField(label=_("Sampling rate"), required=False, min_value=0.000001, help_text=_("Hertz."))
    sample_column = forms.CharField(
        label=_("Recording column"), required=False, max_length=400, help_text=_("Rows of one recording share its value.")
    )
    time_column = forms.CharField(label=_("Time column"), required=False, max_length=400)
    array = forms.CharField(
        label=_("Array"), required=False, max_length=400, help_text=_("In an .npz: the name of the array with the samples.")
    )
    delimiter = forms.ChoiceField(label=_("Delimiter"), required=False, choices=DELIMITERS)
    limit = forms.IntegerField(label=_("At most"), required=False, min_value=1, help_text=_("Samples to keep, from the start."))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["modality"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [("", _("Guess")), *((spec.key, spec.label) for spec in MODALITIES.values())]

    @classmethod
    def of(cls, sample_set: SampleSet) -> ReadingForm:
        """Prefilled with what was used, guessed or chosen, so that correcting one thing keeps the rest."""
        options = sample_set.guess.get("used", sample_set.options)
        initial = {name: options[name] for name in cls.base_fields if name in options}
        initial["modality"] = sample_set.modality
        initial["columns"] = ", ".join(options.get("columns", []))
        return cls(initial=initial)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("stride") and not data.get("window"):
            self.add_error("stride", _("A stride needs a window."))
        return data

    def options(self) -> dict[str, Any]:
        """The options document, without the modality and what was left empty."""
        chosen = {name: value for name, value in self.cleaned_data.items() if value not in ("", None) and name != "modality"}
        if "columns" in chosen:
            chosen["columns"] = [part.strip() for part in chosen["columns"].split(",") if part.strip()]
        return chosen

    def shown(self, modality: str) -> tuple[list[forms.BoundField], list[forms.BoundField]]:
        """Fields for this modality, and the others."""
        first = RELEVANT.get(modality, RELEVANT[""])
        return [self[name] for name in first], [self[name] for name in self.fields if name not in first]


class RetainForm(forms.Form):
    until = forms.DateField(label=_("Keep until"), widget=forms.DateInput(attrs={"type": "date"}))

    def moment(self) -> datetime:
        """The end of the chosen day, at most the limit of now."""
        chosen = timezone.make_aware(datetime.combine(self.cleaned_data["until"], time(23, 59)))
        latest = timezone.now() + timedelta(days=settings.SAMPLE_RETENTION_DAYS)
        return latest if chosen.date() == latest.date() else chosen


class ShareForm(forms.Form):
    """A team of the person's, or nobody."""

    team = forms.ModelChoiceField(
        label=_("Share with"), queryset=Team.objects.none(), required=False, empty_label=_("Nobody: private to me")
    )

    def __init__(self, data: QueryDict | None = None, *, user: User, initial: Team | None = None) -> None:
        super().__init__(data, initial={"team": initial})
        field = self.fields["team"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = user.teams.filter(personal_of=None)


class SearchForm(forms.Form):
    """Constraints of a new search. Choices come from the models that can read the samples, so nobody types what is not there."""

    name = forms.CharField(label=_("Name"), required=False, max_length=140, help_text=_("Empty: the name of the sample set."))
    label_key = forms.ChoiceField(label=_("Labels"), required=False)
    licences = forms.MultipleChoiceField(
        label=_("Licences"), required=False, widget=forms.CheckboxSelectMultiple, help_text=_("None ticked: any licence.")
    )
    tasks = forms.MultipleChoiceField(
        label=_("Tasks"), required=False, widget=forms.CheckboxSelectMultiple, help_text=_("None ticked: any task.")
    )
    teams = forms.MultipleChoiceField(
        label=_("Teams"), required=False, widget=forms.CheckboxSelectMultiple, help_text=_("None ticked: any team.")
    )
    max_size = forms.FloatField(label=_("Largest file"), required=False, min_value=0.001, max_value=1e9)
    device = forms.ChoiceField(
        label=_("Device"), required=False, help_text=_("Where the model shall answer: the limits then hold for what is predicted there.")
    )
    max_latency_ms = forms.FloatField(
        label=_("Slowest answer"), required=False, min_value=0.000001, max_value=1e9, help_text=_("Milliseconds per sample.")
    )
    max_memory = forms.FloatField(label=_("Most memory"), required=False, min_value=0.001, max_value=1e9)
    n_samples = forms.IntegerField(label=_("Samples to use"), required=False, min_value=1, help_text=_("Empty: all of them."))
    metric = forms.ChoiceField(label=_("What counts"), required=False, choices=METRICS)
    metric_label = forms.CharField(
        label=_("Label that counts"), required=False, max_length=200, help_text=_("For F1 of one label: which of the labels.")
    )
    drop = forms.ChoiceField(
        label=_("Stop hopeless candidates early"),
        required=False,
        choices=DROPS,
        initial=str(DROP_LEVEL),
        help_text=_(
            "A model leaves when its chance of coming within one point of the best falls under this, and the best is "
            "all but surely among those that stay. Eight stay at least."
        ),
    )
    scorers = forms.MultipleChoiceField(label=_("Scorers"), required=False, widget=forms.CheckboxSelectMultiple)

    def __init__(self, data: QueryDict | None, *, sample_set: SampleSet, selection: Selection, choices: ConstraintChoices) -> None:
        super().__init__(data, initial={"label_key": selection.label_key, "scorers": list(DEFAULT_SCORERS)})
        # What the search takes when nobody chooses: the label space that most models share.
        self.labels = selection.labels
        self.usual_label_key = selection.label_spaces[0].label_key if selection.label_spaces else ""
        self._choices("label_key", [(space.label_key, label_space_text(space)) for space in selection.label_spaces])
        for facet in ("licences", "tasks", "teams"):
            known: list[tuple[str, str]] = getattr(choices, facet)
            # What was ticked before another label space was chosen stays visible, with no model behind it.
            ticked = [value for value in (data.getlist(facet) if data else []) if value not in dict(known)]
            self._choices(facet, [*known, *((value, f"{value} (0)") for value in ticked)])
        self._choices("device", [("", str(_("As measured at publication"))), *((name, name) for name in choices.devices)])
        self._choices("scorers", [(spec.key, spec.label) for spec in SCORERS.values()])
        most = min(sample_set.n, settings.SEARCH_MAX_SAMPLES)
        number = self.fields["n_samples"]
        assert isinstance(number, forms.IntegerField)
        number.widget.attrs |= {"max": most, "placeholder": most}

    def _choices(self, name: str, choices: list[tuple[str, str]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices

    def clean_scorers(self) -> list[str]:
        chosen: list[str] = self.cleaned_data["scorers"]
        if not chosen:
            return list(DEFAULT_SCORERS)
        if not any(SCORERS[key].predicts_accuracy and SCORERS[key].cost == "forward" for key in chosen):
            raise forms.ValidationError(
                _("Tick at least one scorer that predicts accuracy by running the models: consensus, or thresholded confidence.")
            )
        return chosen

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        try:
            metric_document(self._metric(data), self.labels)
        except ValueError:
            shown = ", ".join(self.labels[:20])
            self.add_error("metric_label", _("Name one of the labels: %(labels)s.") % {"labels": shown})
        return data

    def chosen_metric(self) -> dict[str, Any]:
        """As `search_start` takes it."""
        return self._metric(self.cleaned_data)

    @staticmethod
    def _metric(data: Mapping[str, Any]) -> dict[str, Any]:
        kind = data.get("metric") or "accuracy"
        return {"kind": kind, "label": data.get("metric_label", "").strip()} if kind == "f1" else {"kind": kind}

    def drop_level(self) -> float | None:
        return None if self.cleaned_data["drop"] == NEVER else float(self.cleaned_data["drop"] or DROP_LEVEL)

    def constraints(self) -> Constraints:
        data = self.cleaned_data
        return Constraints(
            label_key=data["label_key"],
            licences=tuple(data["licences"]),
            tasks=tuple(data["tasks"]),
            teams=tuple(data["teams"]),
            max_size_bytes=_bytes(data["max_size"]),
            max_latency_ms=data["max_latency_ms"],
            max_memory_bytes=_bytes(data["max_memory"]),
            device=data["device"],
        )

    @property
    def usual_scorers(self) -> list[forms.boundfield.BoundWidget]:
        """Boxes of the scorers that a search takes when nobody chooses."""
        return [box for box in self["scorers"] if box.data["value"] in DEFAULT_SCORERS]

    @property
    def more_scorers(self) -> list[tuple[FamilySpec, list[forms.boundfield.BoundWidget]]]:
        """Boxes of the others, by family."""
        boxes = [box for box in self["scorers"] if box.data["value"] not in DEFAULT_SCORERS]
        grouped = ((family, [box for box in boxes if SCORERS[box.data["value"]].family == family.key]) for family in FAMILIES.values())
        return [(family, members) for family, members in grouped if members]

    @property
    def more_scorers_chosen(self) -> bool:
        return any(key not in DEFAULT_SCORERS for key in self["scorers"].value() or ())


class ConstraintChoices:
    """What can be chosen: (value, text with count) from the models that read the samples and share the label space; names of devices."""

    def __init__(self, selection: Selection) -> None:
        models = [version.model for version in selection.chosen]
        self.licences = _counted([model.licence for model in models if model.licence])
        self.tasks = _counted([model.task for model in models if model.task])
        self.teams = _counted([model.team.slug for model in models])
        self.devices = [device.name for device in selection.costs.devices]


def _counted(values: list[str]) -> list[tuple[str, str]]:
    counts = {value: values.count(value) for value in set(values)}
    return [(value, f"{value} ({count})") for value, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def label_space_text(space: LabelSpace) -> str:
    head = ", ".join(space.labels[:8])
    more = f" and {len(space.labels) - 8} more" if len(space.labels) > 8 else ""
    return f"{head}{more} ({space.count} {'model' if space.count == 1 else 'models'})"


def _bytes(megabytes: float | None) -> int | None:
    return None if megabytes is None else int(megabytes * MEGABYTE)
