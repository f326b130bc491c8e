"""Operators' view of people, teams, tokens and the audit log."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from accounts.models import ApiToken, AuditEvent, Membership, Team, User
from accounts.services import personal_team_create, token_revoke

admin.site.unregister(Group)


class MembershipInline(TabularInline):
    model = Membership
    extra = 0
    autocomplete_fields = ["user"]
    fields = ["user", "role", "created"]
    readonly_fields = ["created"]


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):
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

    def save_model(self, request: HttpRequest, obj: User, form, change: bool) -> None:
        super().save_model(request, obj, form, change)
        personal_team_create(user=obj)


@admin.register(Team)
class TeamAdmin(ModelAdmin):
    list_display = ["name", "slug", "personal_of", "created"]
    search_fields = ["name", "slug"]
    list_select_related = ["personal_of"]
    readonly_fields = ["personal_of", "created"]
    inlines = [MembershipInline]


@admin.register(Membership)
class MembershipAdmin(ModelAdmin):
    list_display = ["user", "team", "role", "created"]
    list_filter = ["role"]
    list_select_related = ["user", "team"]
    search_fields = ["user__username", "team__slug"]
    autocomplete_fields = ["user", "team"]


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
