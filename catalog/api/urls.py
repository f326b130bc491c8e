"""Addresses of the catalog API, under /api/."""

from django.urls import path

from catalog.api import probe_views, version_views, views

MODEL = "models/<slug:team>/<slug:name>/"
VERSION = MODEL + "versions/<int:number>/"
urlpatterns = [
    path("models/", views.ModelListView.as_view(), name="api-models"),
    path("models/facets/", views.FacetsView.as_view(), name="api-facets"),
    path(MODEL, views.ModelView.as_view(), name="api-model"),
    path(MODEL + "restore/", views.ModelRestoreView.as_view(), name="api-model-restore"),
    path(MODEL + "purge/", views.ModelPurgeView.as_view(), name="api-model-purge"),
    path(MODEL + "aliases/", views.AliasListView.as_view(), name="api-aliases"),
    path(MODEL + "aliases/<slug:alias>/", views.AliasView.as_view(), name="api-alias"),
    path(MODEL + "versions/", version_views.VersionListView.as_view(), name="api-versions"),
    path(VERSION, version_views.VersionView.as_view(), name="api-version"),
    path(VERSION + "recheck/", version_views.VersionRecheckView.as_view(), name="api-version-recheck"),
    path(VERSION + "submit/", version_views.VersionSubmitView.as_view(), name="api-version-submit"),
    path(VERSION + "archive/", version_views.VersionArchiveView.as_view(), name="api-version-archive"),
    path(VERSION + "withdraw/", version_views.ReferenceWithdrawView.as_view(), name="api-reference-withdraw"),
    path(VERSION + "signature/", version_views.SignatureView.as_view(), name="api-signature"),
    path(VERSION + "files/<int:file_id>/", version_views.FileView.as_view(), name="api-file"),
    path(VERSION + "reviews/", version_views.ReviewView.as_view(), name="api-reviews"),
    path(VERSION + "probes/", probe_views.VersionProbesView.as_view(), name="api-version-probes"),
    path("probe-sets/", probe_views.ProbeSetListView.as_view(), name="api-probe-sets"),
    path("probe-sets/<slug:team>/", probe_views.ProbeSharingView.as_view(), name="api-probe-sharing"),
    path("probe-sets/<slug:team>/<slug:key>/", probe_views.ProbeSetView.as_view(), name="api-probe-set"),
    path("probe-sets/<slug:team>/<slug:key>/slices/<int:pk>/", probe_views.LabelledSliceView.as_view(), name="api-labelled-slice"),
    path("calibrations/", probe_views.CalibrationListView.as_view(), name="api-calibrations"),
    path("review-queue/", version_views.QueueView.as_view(), name="api-review-queue"),
    path("spec-schema/", views.SpecSchemaView.as_view(), name="api-spec-schema"),
]
