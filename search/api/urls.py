"""Addresses of the search API, under /api/."""

from django.urls import path

from search.api import boards, labels, samplesets, searches

SET = "sample-sets/<int:pk>/"
SEARCH = "searches/<int:pk>/"
urlpatterns = [
    path("sample-sets/", samplesets.SampleSetListView.as_view(), name="api-sample-sets"),
    path(SET, samplesets.SampleSetView.as_view(), name="api-sample-set"),
    path(SET + "footprint/", samplesets.FootprintView.as_view(), name="api-sample-set-footprint"),
    path(SET + "recheck/", samplesets.RecheckView.as_view(), name="api-sample-set-recheck"),
    path(SET + "problems/", samplesets.ProblemsView.as_view(), name="api-sample-set-problems"),
    path(SET + "previews/", samplesets.PreviewsView.as_view(), name="api-sample-set-previews"),
    path("searches/", searches.SearchListView.as_view(), name="api-searches"),
    path("searches/plan/", searches.PlanView.as_view(), name="api-search-plan"),
    path(SEARCH, searches.SearchView.as_view(), name="api-search"),
    path(SEARCH + "events/", searches.EventsView.as_view(), name="api-search-events"),
    path(SEARCH + "stop/", searches.StopView.as_view(), name="api-search-stop"),
    path(SEARCH + "rerun/", searches.RerunView.as_view(), name="api-search-rerun"),
    path(SEARCH + "candidates/", boards.CandidatesView.as_view(), name="api-candidates"),
    path(SEARCH + "candidates/<int:candidate_pk>/", boards.CandidateView.as_view(), name="api-candidate"),
    path(SEARCH + "candidates/<int:candidate_pk>/retry/", boards.CandidateRetryView.as_view(), name="api-candidate-retry"),
    path(SEARCH + "difference/", boards.DifferenceView.as_view(), name="api-search-difference"),
    path(SEARCH + "execution/", boards.ExecutionView.as_view(), name="api-search-execution"),
    path(SEARCH + "plots/", boards.PlotsView.as_view(), name="api-search-plots"),
    path(SEARCH + "disputed/", boards.DisputedView.as_view(), name="api-search-disputed"),
    path(SEARCH + "labels/", labels.LabelsView.as_view(), name="api-search-labels"),
    path(SEARCH + "labels/next/", labels.NextSampleView.as_view(), name="api-search-label-next"),
    path(SEARCH + "labels/probes/", labels.GiftView.as_view(), name="api-search-label-probes"),
    path(SEARCH + "labels/<int:item>/", labels.LabelView.as_view(), name="api-search-label"),
    path(SEARCH + "board.json", boards.ExportJsonView.as_view(), name="api-search-json"),
    path(SEARCH + "board.csv", boards.ExportCsvView.as_view(), name="api-search-csv"),
    path(SEARCH + "reports/", boards.ReportListView.as_view(), name="api-reports"),
    path(SEARCH + "reports/<int:report_pk>/", boards.ReportView.as_view(), name="api-report"),
]
