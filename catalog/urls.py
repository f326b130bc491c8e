"""Addresses of the catalog's pages."""

from __future__ import annotations

from django.urls import path

from catalog.views import curate, models, probes, publish, settings, versions

app_name = "catalog"
MODEL = "models/<slug:team>/<slug:name>/"
VERSION = MODEL + "versions/<int:number>/"
urlpatterns = [
    path("models/", models.model_list, name="model_list"),
    path("models/new/", publish.model_new, name="model_new"),
    path("models/new/detect/", publish.detect_files, name="detect_files"),
    path("models/deleted/", settings.deleted_list, name="deleted_list"),
    path(MODEL, models.model_detail, name="model_detail"),
    path(MODEL + "evidence/", models.model_evidence, name="model_evidence"),
    path(MODEL + "signature/", models.model_signature, name="model_signature"),
    path(MODEL + "files/", models.model_files, name="model_files"),
    path(MODEL + "versions/", versions.version_list, name="version_list"),
    path(MODEL + "versions/new/", publish.version_new, name="version_new"),
    path(MODEL + "settings/", settings.model_settings, name="model_settings"),
    path(MODEL + "aliases/", settings.alias_set, name="alias_set"),
    path(MODEL + "aliases/<slug:alias>/delete/", settings.alias_delete, name="alias_delete"),
    path(MODEL + "delete/", settings.model_delete, name="model_delete"),
    path(MODEL + "restore/", settings.model_restore, name="model_restore"),
    path(MODEL + "purge/", settings.model_purge, name="model_purge"),
    path(VERSION, versions.version_detail, name="version_detail"),
    path(VERSION + "recheck/", publish.version_recheck, name="version_recheck"),
    path(VERSION + "submit/", versions.version_submit, name="version_submit"),
    path(VERSION + "archive/", versions.version_archive, name="version_archive"),
    path(VERSION + "withdraw/", versions.reference_withdraw, name="reference_withdraw"),
    path(VERSION + "files/<int:file_id>/", versions.file_download, name="file_download"),
    path(VERSION + "review/", curate.review_decide, name="review_decide"),
    path("probes/", probes.probe_set_list, name="probe_set_list"),
    path("probes/<slug:team>/share/", probes.probe_share, name="probe_share"),
    path("probes/<slug:team>/<slug:key>/", probes.probe_set, name="probe_set"),
    path("probes/<slug:team>/<slug:key>/<int:pk>/withdraw/", probes.labelled_withdraw, name="labelled_withdraw"),
    path("operate/calibration/", probes.calibration_list, name="calibration_list"),
    path("curate/queue/", curate.review_queue, name="review_queue"),
]
