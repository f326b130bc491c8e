"""Addresses of the accounts API, under /api/."""

from django.urls import path

from accounts.api import schema, views  # noqa: F401  (the schema registers itself)

urlpatterns = [
    path("me/", views.MeView.as_view(), name="api-me"),
    path("teams/", views.TeamListView.as_view(), name="api-teams"),
    path("teams/<slug:slug>/", views.TeamView.as_view(), name="api-team"),
    path("teams/<slug:slug>/members/<str:username>/", views.MemberView.as_view(), name="api-member"),
    path("tokens/", views.TokenListView.as_view(), name="api-tokens"),
    path("tokens/<int:pk>/", views.TokenView.as_view(), name="api-token"),
]
