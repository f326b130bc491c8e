"""Addresses of resumable uploads, under /uploads/."""

from django.urls import path

from uploads import views

app_name = "uploads"
urlpatterns = [
    path("", views.collection, name="collection"),
    path("<uuid:upload_id>", views.item, name="item"),
]
