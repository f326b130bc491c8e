"""Project configuration. Importing it makes the Celery application the current one, for the web and the workers alike."""

import os

# Read when numpy's and scipy's libraries are loaded, so before anything else is imported. Tables here are small: a second thread made fits
# ten times slower where another process wanted its core, and it makes the last bits of a board depend on the machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from config.celery import app as celery_app  # noqa: E402

__all__ = ["celery_app"]
