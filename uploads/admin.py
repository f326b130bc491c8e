"""Operators' view of uploads on their way in. Deleting a row here leaves its bytes to the sweeper."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from uploads.models import Upload


@admin.register(Upload)
class UploadAdmin(ModelAdmin):
    list_display = ["name", "owner", "purpose", "size", "offset", "claimed", "created", "expires"]
    list_filter = ["purpose", "claimed"]
    list_select_related = ["owner"]
    search_fields = ["name", "owner__username"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Upload | None = None) -> bool:
        return False
