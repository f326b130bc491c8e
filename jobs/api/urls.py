"""Addresses of the jobs API, under /api/."""

from django.urls import path

from jobs.api import views

urlpatterns = [
    path("jobs/", views.JobListView.as_view(), name="api-jobs"),
    path("jobs/<int:pk>/", views.JobView.as_view(), name="api-job"),
    path("jobs/<int:pk>/cancel/", views.JobCancelView.as_view(), name="api-job-cancel"),
    path("jobs/<int:pk>/retry/", views.JobRetryView.as_view(), name="api-job-retry"),
]
