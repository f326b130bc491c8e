"""The catalog for operators. What a worker computed is shown, never edited."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from catalog.models import Alias, ModelVersion, ReferenceSample, RegisteredModel, Review, Signature, Tensor


class ReadOnly(ModelAdmin):
    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(RegisteredModel)
class RegisteredModelAdmin(ModelAdmin):
    list_display = ("__str__", "title", "task", "modality", "visibility", "owner", "updated", "deleted")
    list_filter = ("modality", "visibility", "team")
    search_fields = ("name", "title", "team__slug")
    list_select_related = ("team", "owner")
    fields = (
        "team",
        "owner",
        "name",
        "title",
        "summary",
        "description",
        "task",
        "modality",
        "licence",
        "visibility",
        "published_version",
        "created",
        "updated",
        "deleted",
        "purged",
    )
    readonly_fields = ("team", "name", "modality", "published_version", "created", "updated", "deleted", "purged")
    autocomplete_fields = ("owner",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnly):
    list_display = ("__str__", "state", "format", "parameters", "created_by", "created")
    list_filter = ("state", "format")
    search_fields = ("model__name", "program_hash")
    list_select_related = ("model__team", "created_by")
    exclude = ("program", "spec")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer("program", "spec")


@admin.register(Signature)
class SignatureAdmin(ReadOnly):
    list_display = ("version", "recipe", "n", "accuracy", "computed")
    list_select_related = ("version__model__team",)
    exclude = ("arrays",)

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer("arrays", "version__program", "version__spec")


@admin.register(Tensor)
class TensorAdmin(ReadOnly):
    list_display = ("key", "dtype", "shape", "nbytes", "pack")
    search_fields = ("key", "pack")
    show_full_result_count = False


@admin.register(ReferenceSample)
class ReferenceSampleAdmin(ReadOnly):
    list_display = ("version", "choice", "n", "raw_deleted")
    list_select_related = ("version__model__team",)


@admin.register(Review)
class ReviewAdmin(ReadOnly):
    list_display = ("version", "decision", "reviewer", "created")
    list_select_related = ("version__model__team", "reviewer")


@admin.register(Alias)
class AliasAdmin(ReadOnly):
    list_display = ("__str__", "version", "moved")
    list_select_related = ("model__team", "version__model__team")
