"""Every address of the site."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from config import health, home

urlpatterns = [
    path("healthz", health.alive, name="healthz"),
    path("favicon.ico", RedirectView.as_view(url=f"{settings.STATIC_URL}img/logo.svg"), name="favicon"),
    path("readyz", health.ready, name="readyz"),
    path("admin/", admin.site.urls),
    # One person, one e-mail: it is changed on the profile, never in allauth's list of addresses.
    path("accounts/email/", RedirectView.as_view(pattern_name="accounts:settings"), name="account_email"),
    path("accounts/", include("allauth.urls")),
    path("", home.home, name="home"),
    path("", include("catalog.urls")),
    path("", include("accounts.urls")),
    path("", include("jobs.urls")),
    path("", include("search.urls")),
    path("uploads/", include("uploads.urls")),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerView.as_view(url_name="schema"), name="api_docs"),
    path("api/", include("catalog.api.urls")),
    path("api/", include("accounts.api.urls")),
    path("api/", include("jobs.api.urls")),
    path("api/", include("search.api.urls")),
]

handler400 = "config.errors.bad_request"
handler403 = "config.errors.permission_denied"
handler404 = "config.errors.not_found"
handler500 = "config.errors.server_error"
