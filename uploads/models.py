"""Resumable uploads (tus 1.0). The row says how many bytes are safely on disk; the file may hold more."""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import models
from django.utils import timezone


class Purpose(models.TextChoices):
    MODEL = "model", "Model file"
    REFERENCE = "reference", "Reference sample"
    SAMPLES = "samples", "Sample set"


def _expiry() -> object:
    return timezone.now() + timedelta(hours=settings.UPLOAD_EXPIRE_HOURS)


class UploadQuerySet(models.QuerySet["Upload"]):
    def complete(self) -> UploadQuerySet:
        return self.filter(offset=models.F("size"))

    def expired(self) -> UploadQuerySet:
        """Nobody took these into use in time."""
        return self.filter(claimed=False, expires__lt=timezone.now())


class Upload(models.Model):
    """One file on its way in. `claimed` once a model version or sample set has taken it over."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="uploads")
    purpose = models.CharField(max_length=10, choices=Purpose.choices)
    name = models.CharField(max_length=1000, help_text="The person's own path, / between folders")
    size = models.BigIntegerField()
    offset = models.BigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)
    claimed = models.BooleanField(default=False)
    created = models.DateTimeField(default=timezone.now)
    expires = models.DateTimeField(default=_expiry)

    objects = UploadQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["expires"], name="upload_expiry", condition=models.Q(claimed=False))]

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> Path:
        return settings.UPLOAD_DIR / self.id.hex[:2] / self.id.hex

    @property
    def is_complete(self) -> bool:
        return self.offset == self.size

    @property
    def is_expired(self) -> bool:
        return not self.claimed and self.expires < timezone.now()
