"""Operators' view of people, teams, tokens and the audit log. What is changed here is audited as everywhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db import models, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from unfold.admin import ModelAdmin, TabularInline
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from accounts.models import ApiToken, AuditEvent, Membership, Role, Team, User, audit
from accounts.services import membership_set, personal_team_create, token_revoke
from gpuworker.core.errors import UserError

admin.site.unregister(Group)


def noted(row: models.Model, names: Iterable[str]) -> dict[str, Any]:
    """These values of a row, for the audit log."""
    return {name: getattr(row, name) for name in names}


class ChangesByServices(ModelAdmin):
    """Every change is one transaction; what a service refuses is told on the page, and nothing of it is kept."""

    def changeform_view(self, request: HttpRequest, *args: Any, **fields: Any) -> HttpResponse:
        return self._told(request, super().changeform_view, *args, **fields)

    def delete_view(self, request: HttpRequest, *args: Any, **fields: Any) -> HttpResponse:
        return self._told(request, super().delete_view, *args, **fields)

    def changelist_view(self, request: HttpRequest, *args: Any, **fields: Any) -> HttpResponse:
        return self._told(request, super().changelist_view, *args, **fields)

    def _told(self, request: HttpRequest, view: Callable[..., HttpResponse], *args: Any, **fields: Any) -> HttpResponse:
        try:
            with transaction.atomic():
                return view(request, *args, **fields)
        except UserError as error:
            self.message_user(request, error.text, level=messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        for row in queryset:
            self.delete_model(request, row)


class MembershipForm(forms.ModelForm):
    """Of a membership that exists only the role can change: who left and who joined must both be told."""

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        for name in {"user", "team"} & self.fields.keys():
            self.fields[name].disabled = self.instance.pk is not None


class MembershipInline(TabularInline):
    model = Membership
    form = MembershipForm
    extra = 0
    autocomplete_fields = ["user"]
    fields = ["user", "role", "created"]
    readonly_fields = ["created"]


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ChangesByServices):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["username", "email", "is_active", "is_staff", "is_superuser", "last_login"]
    list_filter = ["is_active", "is_staff", "is_superuser"]
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("first_name", "last_name", "email", "shortcuts")}),
        ("Rights", {"fields": ("is_active", "is_staff", "is_superuser")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    readonly_fields = ["last_login", "date_joined"]
    filter_horizontal = ()
    AUDITED = ("username", "email", "is_active", "is_staff", "is_superuser")

    def save_model(self, request: HttpRequest, obj: User, form: forms.ModelForm, change: bool) -> None:
        before = noted(User.objects.get(pk=obj.pk), self.AUDITED) if change else {}
        super().save_model(request, obj, form, change)
        personal_team_create(user=obj)
        after = noted(obj, self.AUDITED)
        if after != before:
            audit("user.change" if change else "user.create", obj, actor=request.user, before=before, after=after)

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        teams = [f"{row.team.slug}: {row.role}" for row in obj.memberships.select_related("team").order_by("team__slug")]
        audit("user.delete", obj, actor=request.user, before=noted(obj, self.AUDITED) | {"teams": teams})
        super().delete_model(request, obj)


@admin.register(Team)
class TeamAdmin(ChangesByServices):
    list_display = ["name", "slug", "personal_of", "created"]
    search_fields = ["name", "slug"]
    list_select_related = ["personal_of"]
    readonly_fields = ["personal_of", "created"]
    inlines = [MembershipInline]
    AUDITED = ("name", "slug")

    def save_model(self, request: HttpRequest, obj: Team, form: forms.ModelForm, change: bool) -> None:
        before = noted(Team.objects.get(pk=obj.pk), self.AUDITED) if change else {}
        super().save_model(request, obj, form, change)
        after = noted(obj, self.AUDITED)
        if after != before:
            audit("team.change" if change else "team.create", obj, actor=request.user, team=obj, before=before, after=after)

    def save_formset(self, request: HttpRequest, form: forms.ModelForm, formset: forms.BaseModelFormSet, change: bool) -> None:
        """The members. New admins come first, so that one may take the place of the last."""
        for row in sorted(formset.save(commit=False), key=lambda row: row.role != Role.ADMIN):
            membership_set(team=row.team, user=row.user, role=row.role, actor=request.user)
        for row in formset.deleted_objects:
            membership_set(team=row.team, user=row.user, role=None, actor=request.user)

    def delete_model(self, request: HttpRequest, obj: Team) -> None:
        members = [f"{row.user}: {row.role}" for row in obj.memberships.select_related("user").order_by("user__username")]
        audit("team.delete", obj, actor=request.user, before=noted(obj, self.AUDITED) | {"members": members})
        super().delete_model(request, obj)


@admin.register(Membership)
class MembershipAdmin(ChangesByServices):
    form = MembershipForm
    list_display = ["user", "team", "role", "created"]
    list_filter = ["role"]
    list_select_related = ["user", "team"]
    search_fields = ["user__username", "team__slug"]
    autocomplete_fields = ["user", "team"]
    fields = ["user", "team", "role", "created"]
    readonly_fields = ["created"]

    def save_model(self, request: HttpRequest, obj: Membership, form: forms.ModelForm, change: bool) -> None:
        membership_set(team=obj.team, user=obj.user, role=obj.role, actor=request.user)
        obj.pk = Membership.objects.get(team=obj.team, user=obj.user).pk

    def delete_model(self, request: HttpRequest, obj: Membership) -> None:
        membership_set(team=obj.team, user=obj.user, role=None, actor=request.user)


@admin.register(ApiToken)
class ApiTokenAdmin(ModelAdmin):
    """Tokens can be looked at and revoked; neither digest nor text is shown."""

    list_display = ["name", "user", "hint", "created", "expires", "last_used", "revoked"]
    list_select_related = ["user"]
    search_fields = ["name", "user__username", "hint"]
    fields = readonly_fields = ["user", "name", "hint", "scopes", "created", "expires", "last_used", "revoked"]
    actions = ["revoke"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    @admin.action(description="Revoke the chosen tokens", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset) -> None:
        for token in queryset:
            token_revoke(token=token, actor=request.user)


@admin.register(AuditEvent)
class AuditEventAdmin(ModelAdmin):
    """Read only: rows are only ever added, by the changes themselves."""

    list_display = ["at", "actor_name", "action", "object_label", "team"]
    list_filter = ["object_type"]
    list_select_related = ["team"]
    search_fields = ["actor_name", "object_label", "action"]
    date_hierarchy = "at"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEvent | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AuditEvent | None = None) -> bool:
        return False
