"""The Celery application. PostgreSQL holds every job; the broker only carries hints (see docs/architecture.md)."""

import os

from celery import Celery, signals

from config.checks import refuse_broken_settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("modelshop")
app.config_from_object("django.conf:settings", namespace="CELERY")
signals.celeryd_init.connect(refuse_broken_settings)
