"""Addresses of sample sets and searches."""

from django.urls import path

from search.views import confirm, new, plan, reports, rows, samples, samplesets, searches

app_name = "search"
urlpatterns = [
    path("samples/", samplesets.sampleset_list, name="sampleset_list"),
    path("samples/new/", samplesets.sampleset_new, name="sampleset_new"),
    path("samples/<int:pk>/", samplesets.sampleset_detail, name="sampleset_detail"),
    path("samples/<int:pk>/status/", samplesets.sampleset_status, name="sampleset_status"),
    path("samples/<int:pk>/problems/", samplesets.sampleset_problems, name="sampleset_problems"),
    path("samples/<int:pk>/options/", samplesets.sampleset_options, name="sampleset_options"),
    path("samples/<int:pk>/retention/", samplesets.sampleset_extend, name="sampleset_extend"),
    path("samples/<int:pk>/share/", samplesets.sampleset_sharing, name="sampleset_share"),
    path("samples/<int:pk>/delete/", samplesets.sampleset_remove, name="sampleset_delete"),
    path("searches/", searches.search_list, name="search_list"),
    path("searches/new/", new.search_new, name="search_new"),
    path("searches/new/count/", new.search_count, name="search_count"),
    path("searches/<int:pk>/", searches.search_detail, name="search_detail"),
    path("searches/<int:pk>/updates/", searches.search_updates, name="search_updates"),
    path("searches/<int:pk>/plan/", plan.search_plan, name="search_plan"),
    path("searches/<int:pk>/plots/", searches.search_plots, name="search_plots"),
    path("searches/<int:pk>/samples/", samples.search_samples, name="search_samples"),
    path("searches/<int:pk>/confirm/", confirm.search_confirm, name="search_confirm"),
    path("searches/<int:pk>/confirm/label/", confirm.confirm_label, name="confirm_label"),
    path("searches/<int:pk>/confirm/undo/", confirm.confirm_undo, name="confirm_undo"),
    path("searches/<int:pk>/confirm/use/", confirm.confirm_use, name="confirm_use"),
    path("searches/<int:pk>/confirm/give/", confirm.confirm_give, name="confirm_give"),
    path("searches/<int:pk>/confirm/take-back/", confirm.confirm_take_back, name="confirm_take_back"),
    path("searches/<int:pk>/stop/", searches.stop, name="search_stop"),
    path("searches/<int:pk>/rerun/", searches.rerun, name="search_rerun"),
    path("searches/<int:pk>/share/", searches.sharing, name="search_share"),
    path("searches/<int:pk>/delete/", searches.remove, name="search_delete"),
    path("searches/<int:pk>/board.csv", reports.export_csv, name="search_csv"),
    path("searches/<int:pk>/board.json", reports.export_json, name="search_json"),
    path("searches/<int:pk>/rows/<int:candidate_pk>/", rows.row, name="search_row"),
    path("searches/<int:pk>/rows/<int:candidate_pk>/retry/", searches.retry, name="candidate_retry"),
    path("searches/<int:pk>/report/", reports.report_list, name="report_list"),
    path("searches/<int:pk>/report/<int:report_pk>/", reports.report, name="report"),
]
