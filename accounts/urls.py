"""Addresses of settings, teams and the audit log."""

from django.urls import path

from accounts import audit_views, views

app_name = "accounts"
urlpatterns = [
    path("settings/", views.profile, name="settings"),
    path("settings/tokens/", views.tokens, name="tokens"),
    path("settings/tokens/<int:pk>/revoke/", views.token_delete, name="token_revoke"),
    path("settings/teams/", views.team_list, name="team_list"),
    path("settings/teams/<slug:slug>/", views.team_detail, name="team_detail"),
    path("settings/teams/<slug:slug>/members/", views.member_set, name="member_set"),
    path("settings/teams/<slug:slug>/members/<str:username>/remove/", views.member_remove, name="member_remove"),
    path("operate/audit/", audit_views.audit_log, name="audit"),
]
