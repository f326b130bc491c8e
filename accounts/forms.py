"""Forms of the settings pages."""

from __future__ import annotations

from datetime import timedelta

from django import forms
from django.http import QueryDict
from django.utils.text import slugify
from django.utils.translation import gettext_lazy as _

from accounts.models import Role, Scope, Team, User
from accounts.services import email_is_taken

LIFETIMES = {"7": _("7 days"), "30": _("30 days"), "90": _("90 days"), "365": _("1 year")}


def scope_choices(user: User) -> list[tuple[str, str]]:
    """Scopes this person may give to a token."""
    return [(scope.value, scope.label) for scope in Scope if scope != Scope.OPERATE_READ or user.is_staff]


class ProfileForm(forms.ModelForm):  # type: ignore[type-arg]
    """Name, e-mail, single-key shortcuts."""

    class Meta:
        model = User
        fields = ["first_name", "last_name", "email", "shortcuts"]
        labels = {"shortcuts": _("Single-key shortcuts"), "email": _("E-mail")}
        help_texts = {
            "email": _("For resetting your password. Nobody else sees it."),
            "shortcuts": _("Keys such as / for search and n for a new search. Switch them off if they get in the way of your tools."),
        }
        widgets = {
            "first_name": forms.TextInput(attrs={"autocomplete": "given-name"}),
            "last_name": forms.TextInput(attrs={"autocomplete": "family-name"}),
            "email": forms.EmailInput(attrs={"autocomplete": "email"}),
        }

    def clean_email(self) -> str:
        email = str(self.cleaned_data["email"])
        if email_is_taken(email=email, user=self.instance):
            raise forms.ValidationError(_("Another account uses this e-mail."))
        return email


class TokenForm(forms.Form):
    """A new API token. It always expires."""

    name = forms.CharField(label=_("Name"), max_length=80, help_text=_("What will use it, for example: nightly evaluation."))
    scopes = forms.MultipleChoiceField(
        label=_("Scopes"),
        widget=forms.CheckboxSelectMultiple,
        help_text=_("Give it no more than it needs."),
        error_messages={"required": _("Choose at least one scope.")},
    )
    expires = forms.ChoiceField(label=_("Expires in"), choices=list(LIFETIMES.items()), initial="90")

    def __init__(self, data: QueryDict | None = None, *, user: User) -> None:
        super().__init__(data)
        self.fields["scopes"].choices = scope_choices(user)  # type: ignore[attr-defined]

    @property
    def lifetime(self) -> timedelta:
        return timedelta(days=int(self.cleaned_data["expires"]))


class TeamForm(forms.ModelForm):  # type: ignore[type-arg]
    """A new team; its address is made from the name where none is given."""

    slug = forms.SlugField(
        label=_("Address"),
        max_length=60,
        required=False,
        help_text=_("Part of the address of its models. Made from the name when left empty."),
    )

    class Meta:
        model = Team
        fields = ["name", "slug"]

    def clean(self) -> dict[str, object]:
        cleaned: dict[str, object] = super().clean() or {}
        if not cleaned.get("slug") and cleaned.get("name"):
            cleaned["slug"] = slugify(str(cleaned["name"]))[:60]
            if not cleaned["slug"]:
                self.add_error("slug", _("No address can be made from this name. Give one in latin letters."))
            elif Team.objects.filter(slug=cleaned["slug"]).exists():
                self.add_error("slug", _("A team with this address exists. Choose another."))
        return cleaned


class MemberForm(forms.Form):
    """Add somebody to a team, or change what they may do there."""

    username = forms.CharField(
        label=_("Username"),
        max_length=150,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    role = forms.ChoiceField(label=_("Role"), choices=Role.choices, initial=Role.VIEWER)

    def clean_username(self) -> User:
        name = str(self.cleaned_data["username"]).strip()
        user = User.objects.filter(username__iexact=name, is_active=True).first()
        if user is None:
            raise forms.ValidationError(_("Nobody here is called %(name)s. They must sign up first."), params={"name": name})
        return user


class AuditFilter(forms.Form):
    """What the audit log is narrowed to; stands in the address."""

    actor = forms.CharField(label=_("Who"), max_length=150, required=False)
    action = forms.CharField(label=_("Action"), max_length=60, required=False, help_text=_("Beginning, for example team or token."))
    team = forms.CharField(label=_("Team"), max_length=60, required=False)
    since = forms.DateField(label=_("From"), required=False, widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(label=_("To"), required=False, widget=forms.DateInput(attrs={"type": "date"}))
