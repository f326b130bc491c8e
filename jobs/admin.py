"""Operators' view of jobs and workers. Rows are changed by the pages under /operate/, not here."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from jobs.models import Device, Job, Worker


class ReadOnlyAdmin(ModelAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    list_display = ["id", "kind", "label", "state", "attempt", "worker", "owner", "created", "finished"]
    list_filter = ["state", "kind"]
    list_select_related = ["owner"]
    search_fields = ["label", "kind", "worker", "owner__username"]


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    list_display = ["name", "device", "seen", "draining", "job"]
    list_select_related = ["job"]


@admin.register(Device)
class DeviceAdmin(ReadOnlyAdmin):
    list_display = ["name", "measured"]
