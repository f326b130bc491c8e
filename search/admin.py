"""Operators' view of sample sets and searches. Raw predictions and samples are never shown here."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Count
from django.utils.html import format_html
from unfold.admin import ModelAdmin, TabularInline

from search.models import Candidate, Report, SampleFile, SampleSet, Search


class ReadOnly:
    """Rows are changed by services only; the admin looks."""

    def has_add_permission(self, request, obj=None):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False


class SampleFileInline(ReadOnly, TabularInline):
    model = SampleFile
    fields = ["name", "size", "sha256"]
    extra = 0
    per_page = 20


@admin.register(SampleSet)
class SampleSetAdmin(ReadOnly, ModelAdmin):
    list_display = ["name", "owner", "shared_with", "state", "modality", "n", "size_bytes", "demo", "retain_until"]
    list_filter = ["state", "modality", "demo"]
    search_fields = ["name", "owner__username"]
    list_select_related = ["owner", "shared_with"]
    date_hierarchy = "created"
    exclude = ["signature", "preview", "problems"]
    inlines = [SampleFileInline]


class CandidateInline(ReadOnly, TabularInline):
    model = Candidate
    fields = ["position", "version", "state", "predicted", "low", "high", "samples_done", "seconds", "error_title"]
    extra = 0
    per_page = 50

    def get_queryset(self, request):
        return super().get_queryset(request).select_related("version__model__team").defer("version__program", "version__facts")


@admin.register(Search)
class SearchAdmin(ReadOnly, ModelAdmin):
    list_display = ["name", "owner", "state", "stage", "n_candidates", "samples_done", "n_samples", "compute_seconds", "created", "board"]
    list_filter = ["state"]
    search_fields = ["name", "owner__username", "sample_set__name"]
    list_select_related = ["owner"]
    date_hierarchy = "created"
    inlines = [CandidateInline]

    def get_queryset(self, request):
        return super().get_queryset(request).annotate(_candidates=Count("candidates"))

    @admin.display(description="candidates", ordering="_candidates")
    def n_candidates(self, search):
        return search._candidates

    @admin.display(description="board")
    def board(self, search):
        return format_html('<a href="{}">open</a>', search.get_absolute_url())


@admin.register(Candidate)
class CandidateAdmin(ReadOnly, ModelAdmin):
    list_display = ["version", "search", "state", "position", "predicted", "low", "high", "samples_done", "error_title"]
    list_filter = ["state"]
    search_fields = ["version__model__name", "search__name"]
    list_select_related = ["version__model__team", "search"]

    def get_queryset(self, request):
        return super().get_queryset(request).defer("version__program", "version__facts", "search__excluded")


@admin.register(Report)
class ReportAdmin(ReadOnly, ModelAdmin):
    list_display = ["__str__", "search", "created_by", "created"]
    list_select_related = ["search", "created_by"]
    exclude = ["payload"]
    date_hierarchy = "created"
