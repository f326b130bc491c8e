"""The project's own Django application: it carries the checks on settings."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks

from config.checks import check_settings


class ProjectConfig(AppConfig):
    name = "config"
    verbose_name = "Modelshop"

    def ready(self) -> None:
        checks.register(check_settings)
