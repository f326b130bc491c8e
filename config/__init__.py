"""Project configuration. Importing it makes the Celery application the current one, for the web and the workers alike."""

from config.celery import app as celery_app

__all__ = ["celery_app"]
