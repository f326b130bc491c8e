"""Forms of the catalog's pages."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from accounts.models import Role, Team, User, Visibility
from catalog.models import ModelVersion, ReferenceSample, RegisteredModel, Review
from catalog.services.models import ModelDetails
from catalog.spec_form import SpecFields, as_text
from gpuworker.core.texts import nests_deeper

LICENCES = (
    "apache-2.0",
    "mit",
    "bsd-3-clause",
    "cc-by-4.0",
    "cc-by-sa-4.0",
    "cc-by-nc-4.0",
    "cc0-1.0",
    "gpl-3.0",
    "openrail",
    "proprietary",
)


class DetailsForm(forms.Form):
    """What a person says about a model."""

    title = forms.CharField(label=_("Title"), max_length=140)
    task = forms.CharField(label=_("Task"), max_length=60, help_text=_("What it decides, for example digits or sentiment."))
    summary = forms.CharField(label=_("Summary"), max_length=300, required=False, help_text=_("One sentence for lists."))
    description = forms.CharField(
        label=_("Description"),
        required=False,
        max_length=20_000,
        widget=forms.Textarea(attrs={"rows": 5}),
        help_text=_("Training data, intended use, known limits."),
    )
    licence = forms.CharField(label=_("Licence"), max_length=60, required=False, widget=forms.TextInput(attrs={"list": "licences"}))
    visibility = forms.ChoiceField(label=_("Who sees it"), choices=Visibility.choices, initial=Visibility.TEAM, widget=forms.RadioSelect)

    @property
    def licences(self) -> tuple[str, ...]:
        return LICENCES

    def details(self) -> ModelDetails:
        data = self.cleaned_data
        return ModelDetails(
            title=data["title"],
            task=data["task"],
            summary=data["summary"],
            description=data["description"],
            licence=data["licence"],
            visibility=data["visibility"],
        )

    @staticmethod
    def initial_of(model: RegisteredModel) -> dict[str, Any]:
        return {name: getattr(model, name) for name in ("title", "task", "summary", "description", "licence", "visibility")}


class VersionForm(SpecFields):
    """A version: its input spec, how its reference sample is read and kept, the author's note."""

    choice = forms.ChoiceField(
        choices=ReferenceSample.Choice.choices,
        initial=ReferenceSample.Choice.SIGNATURE_ONLY,
        widget=forms.RadioSelect,
        label=_("What happens to the reference sample"),
    )
    reference_options = forms.CharField(
        required=False,
        label=_("How to read the reference sample"),
        help_text=_('JSON, for example {"label_column": "label"}; empty: guessed from the files.'),
        widget=forms.TextInput(attrs={"spellcheck": "false", "class": "mono"}),
    )
    comment = forms.CharField(required=False, max_length=4000, widget=forms.Textarea(attrs={"rows": 3}), label=_("Note to the curator"))
    submit_for_review = forms.BooleanField(required=False, initial=True, label=_("Send it into review as soon as the checks have passed"))

    def clean_reference_options(self) -> dict[str, Any]:
        text = self.cleaned_data["reference_options"].strip()
        if not text:
            return {}
        try:
            options = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise forms.ValidationError(_("This is not JSON: %(error)s."), params={"error": error}) from error
        if not isinstance(options, dict) or nests_deeper(options):
            raise forms.ValidationError(_("This must be a JSON object, in braces."))
        return options

    @staticmethod
    def initial_of_version(version: ModelVersion) -> dict[str, Any]:
        return {"spec_by": "json", "spec": as_text(version.spec), "modality": version.spec.get("modality"), "comment": version.comment}


class TeamChoice(forms.ModelChoiceField):  # type: ignore[type-arg]
    """A person's own team has their name, which may be that of another team too."""

    def label_from_instance(self, obj: Team) -> str:
        return str(_("%(name)s (only you)") % {"name": obj.name}) if obj.personal_of_id else obj.name


class PublishForm(VersionForm, DetailsForm):
    """A new model with its first version."""

    team = TeamChoice(
        label=_("Team"),
        queryset=Team.objects.none(),
        to_field_name="slug",
        empty_label=None,
        help_text=_("Owns the model; its curators review each version."),
    )
    name = forms.SlugField(
        label=_("Name"),
        max_length=80,
        help_text=_("Letters, digits and hyphens; part of its address."),
        error_messages={"invalid": _("Use latin letters, digits, hyphens and underscores, without spaces.")},
    )
    field_order = ("team", "name", "title", "task", "summary", "description", "licence", "visibility")

    def __init__(self, user: User, data: Any = None, initial: Any = None) -> None:
        super().__init__(data, initial=initial)
        teams = user.teams_with_role(Role.PUBLISHER)
        choice = self.fields["team"]
        assert isinstance(choice, forms.ModelChoiceField)
        choice.queryset = teams

    def clean_name(self) -> str:
        return str(self.cleaned_data["name"]).lower()


class ReviewForm(forms.Form):
    decision = forms.ChoiceField(choices=Review.Decision.choices)
    reason = forms.CharField(required=False, max_length=4000, widget=forms.Textarea(attrs={"rows": 2}))


class AliasForm(forms.Form):
    name = forms.SlugField(max_length=40)
    number = forms.IntegerField(min_value=1, max_value=2**31 - 1)
