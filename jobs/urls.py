"""Addresses of jobs and of the operator's pages."""

from django.urls import path

from jobs import operate_views, views

app_name = "jobs"
urlpatterns = [
    path("jobs/tray/", views.tray, name="tray"),
    path("jobs/<int:pk>/", views.detail, name="detail"),
    path("jobs/<int:pk>/cancel/", views.cancel, name="cancel"),
    path("jobs/<int:pk>/retry/", views.retry, name="retry"),
    path("operate/workers/", operate_views.workers, name="workers"),
    path("operate/workers/<int:pk>/drain/", operate_views.drain, name="drain"),
    path("operate/jobs/<int:pk>/requeue/", operate_views.requeue, name="requeue"),
    path("operate/storage/", operate_views.storage, name="storage"),
    path("metrics", operate_views.metrics, name="metrics"),
]
