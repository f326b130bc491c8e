"""What a stored model is: registered model > immutable versions > tensors, behaviour signature, files; aliases and reviews."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models import F, FilteredRelation, Q
from django.urls import reverse
from django.utils import timezone

from accounts.models import Role, Team, User, Visibility
from catalog import cost_models, probe_models  # noqa: F401  (Django finds an app's tables through this module)
from gpuworker.core.specs import FORMATS, MODALITIES
from jobs.models import Device


def modality_choices() -> list[tuple[str, str]]:
    return [(spec.key, spec.label) for spec in MODALITIES.values()]


def format_choices() -> list[tuple[str, str]]:
    return [(spec.key, spec.label) for spec in FORMATS.values() if spec.accepted]


class VersionState(models.TextChoices):
    """draft > checking > (rejected | ready) > in_review > published; archived leaves searches but keeps its evidence."""

    DRAFT = "draft", "Draft"
    CHECKING = "checking", "Checking"
    REJECTED = "rejected", "Rejected"
    READY = "ready", "Checked"
    IN_REVIEW = "in_review", "In review"
    PUBLISHED = "published", "Published"
    ARCHIVED = "archived", "Archived"


class RegisteredModelQuerySet(models.QuerySet["RegisteredModel"]):
    def visible_to(self, user: User) -> RegisteredModelQuerySet:
        """Own models, those of the person's teams unless private, and public ones with a published version."""
        if not user.is_authenticated:
            return self.none()
        live = self.filter(deleted=None)
        if user.is_superuser:
            return live
        return live.filter(
            Q(owner=user)
            | (Q(team__in=user.teams.all()) & ~Q(visibility=Visibility.PRIVATE))
            | Q(visibility=Visibility.PUBLIC, published_version__isnull=False)
        )

    def editable_by(self, user: User) -> RegisteredModelQuerySet:
        """The owner while a publisher of the team, and curators of it."""
        return self.filter(deleted=None)._changeable_by(user)

    def deleted_of(self, user: User) -> RegisteredModelQuerySet:
        """Deleted models that this person may restore or purge."""
        return self.filter(deleted__isnull=False, purged=None)._changeable_by(user)

    def on_device(self, device: Device) -> RegisteredModelQuerySet:
        """Annotated with what the published version is predicted to take on a device: device_ms, device_low_ms, device_high_ms for one
        sample, device_bytes; None where nothing is predicted."""
        there = FilteredRelation("published_version__costs", condition=Q(published_version__costs__device=device))
        fields = {"ms": "latency_ms", "low_ms": "low_ms", "high_ms": "high_ms", "bytes": "memory_bytes"}
        return self.annotate(there=there).annotate(**{f"device_{name}": F(f"there__{field}") for name, field in fields.items()})

    def _changeable_by(self, user: User) -> RegisteredModelQuerySet:
        if not user.is_authenticated:
            return self.none()
        if user.is_superuser:
            return self.all()
        return self.filter(
            (Q(owner=user) & Q(team__in=user.teams_with_role(Role.PUBLISHER)))
            | (Q(team__in=user.teams_with_role(Role.CURATOR)) & ~Q(visibility=Visibility.PRIVATE))
        )


class RegisteredModel(models.Model):
    """A named model of a team. Facts of its published version are copied here for facets and sorting."""

    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="models")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    name = models.SlugField(max_length=80)
    title = models.CharField(max_length=140)
    summary = models.CharField(max_length=300, blank=True)
    description = models.TextField(blank=True)
    task = models.CharField(max_length=60, help_text="What it decides, for example digits or sentiment")
    modality = models.CharField(max_length=10, choices=modality_choices)
    licence = models.CharField(max_length=60, blank=True)
    visibility = models.CharField(max_length=8, choices=Visibility.choices, default=Visibility.TEAM)
    created = models.DateTimeField(default=timezone.now)
    updated = models.DateTimeField(default=timezone.now)
    deleted = models.DateTimeField(null=True, blank=True)
    purged = models.DateTimeField(
        null=True, blank=True, help_text="Its tensors and files are gone; the row stays for the searches it took part in"
    )
    published_version = models.ForeignKey("ModelVersion", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    architecture = models.CharField(max_length=60, blank=True)
    parameters = models.BigIntegerField(null=True, blank=True)
    size_bytes = models.BigIntegerField(null=True, blank=True)
    accuracy = models.FloatField(null=True, blank=True, help_text="Self-reported, on the publisher's own reference sample")
    latency_ms = models.FloatField(null=True, blank=True)
    n_labels = models.IntegerField(null=True, blank=True)
    label_key = models.CharField(max_length=64, blank=True, db_index=True)
    text = SearchVectorField(null=True)

    objects = RegisteredModelQuerySet.as_manager()

    class Meta:
        ordering = ["-updated", "-id"]
        constraints = [models.UniqueConstraint(fields=["team", "name"], name="one_name_per_team")]
        indexes = [
            GinIndex(fields=["text"], name="model_text"),
            models.Index(fields=["modality", "task"], name="model_facets"),
            models.Index(fields=["-updated", "-id"], name="model_updated"),
        ]

    def __str__(self) -> str:
        return f"{self.team.slug}/{self.name}"

    def get_absolute_url(self) -> str:
        return reverse("catalog:model_detail", args=[self.team.slug, self.name])


class ModelVersionQuerySet(models.QuerySet["ModelVersion"]):
    def searchable_by(self, user: User) -> ModelVersionQuerySet:
        """Published versions of the models a person may see: what a search may consider."""
        return self.filter(
            state=VersionState.PUBLISHED, model__in=RegisteredModel.objects.visible_to(user), model__published_version=F("pk")
        )

    def waiting(self) -> ModelVersionQuerySet:
        """Versions that wait for a review."""
        return self.filter(state=VersionState.IN_REVIEW, model__deleted=None)

    def in_queue_of(self, user: User) -> ModelVersionQuerySet:
        """Versions that wait for a review this person may give."""
        if user.is_superuser:
            return self.waiting()
        return self.waiting().filter(model__team__in=user.teams_with_role(Role.CURATOR))


class ModelVersion(models.Model):
    """One immutable version. After the checks, only `state` and the review change."""

    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=10, choices=VersionState.choices, default=VersionState.DRAFT)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created = models.DateTimeField(default=timezone.now)
    published = models.DateTimeField(null=True, blank=True)
    comment = models.TextField(blank=True, help_text="The author's note to the curator")
    submit_when_ready = models.BooleanField(default=False, help_text="Go into review as soon as the checks have passed")
    format = models.CharField(max_length=20, choices=format_choices)
    spec = models.JSONField(default=dict)
    labels = models.JSONField(default=list)
    label_key = models.CharField(max_length=64, blank=True, db_index=True, help_text="Digest of the sorted canonical label names")
    program = models.JSONField(null=True, blank=True)
    program_hash = models.CharField(max_length=64, blank=True, db_index=True, help_text="Equal for versions that compute the same")
    facts = models.JSONField(default=dict, help_text="What the checks found, as catalog.facts.ModelFacts")
    checks = models.JSONField(
        default=list, help_text="Finished steps of the check, in order: [{key, text, seconds}]; a repeated check starts after them"
    )
    architecture = models.CharField(max_length=60, blank=True)
    parameters = models.BigIntegerField(null=True, blank=True)
    size_bytes = models.BigIntegerField(null=True, blank=True, help_text="Bytes of the uploaded files")
    tensor_bytes = models.BigIntegerField(null=True, blank=True)
    latency_ms = models.FloatField(null=True, blank=True, help_text="Per sample, measured on the worker that checked it")
    memory_bytes = models.BigIntegerField(null=True, blank=True, help_text="Weights and activations of one sample")
    error_title = models.CharField(max_length=300, blank=True)
    error_detail = models.TextField(blank=True)
    error_fix = models.TextField(blank=True)

    objects = ModelVersionQuerySet.as_manager()

    class Meta:
        ordering = ["-number"]
        constraints = [models.UniqueConstraint(fields=["model", "number"], name="one_number_per_model")]
        indexes = [models.Index(fields=["state"], name="version_state")]

    def __str__(self) -> str:
        return f"{self.model} v{self.number}"

    def get_absolute_url(self) -> str:
        return reverse("catalog:version_detail", args=[self.model.team.slug, self.model.name, self.number])


class VersionFile(models.Model):
    """An uploaded file of a version. The original is kept in the blob folder under its SHA-256, unless switched off."""

    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="files")
    name = models.CharField(max_length=300)
    size = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    kept = models.BooleanField(default=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Tensor(models.Model):
    """A stored tensor. key = SHA-256 of dtype, shape and little-endian bytes; it lies in `pack` at `offset`."""

    key = models.CharField(max_length=64, primary_key=True)
    dtype = models.CharField(max_length=12)
    shape = models.JSONField()
    nbytes = models.BigIntegerField()
    pack = models.CharField(max_length=64, db_index=True)
    offset = models.BigIntegerField()
    versions: models.ManyToManyField[ModelVersion, Any] = models.ManyToManyField(ModelVersion, related_name="tensors")

    def __str__(self) -> str:
        return self.key


class ReferenceSample(models.Model):
    """Held-out samples of the publisher. The raw rows are deleted once the behaviour signature is computed, unless
    the publisher opted a slice into the team's probe set."""

    class Choice(models.TextChoices):
        SIGNATURE_ONLY = "signature_only", "Behaviour signature only: raw rows are deleted"
        PROBES = "probes", "Keep a labelled slice for the team's probe set"

    version = models.OneToOneField(ModelVersion, on_delete=models.CASCADE, related_name="reference")
    choice = models.CharField(max_length=16, choices=Choice.choices, default=Choice.SIGNATURE_ONLY)
    chosen_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    chosen = models.DateTimeField(default=timezone.now)
    options = models.JSONField(default=dict, help_text="How the files are to be read; empty = guess")
    files = models.JSONField(default=list, help_text="[{name, stored, size}]: raw uploads in the reference folder, until they are deleted")
    content_hash = models.CharField(max_length=64, blank=True)
    n = models.IntegerField(null=True, blank=True)
    problems = models.JSONField(default=list)
    raw_deleted = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"reference sample of {self.version}"


class Signature(models.Model):
    """Behaviour signature of a version: small arrays in safetensors bytes. Recomputed only when recipe or content changed."""

    version = models.OneToOneField(ModelVersion, on_delete=models.CASCADE, related_name="signature")
    recipe = models.CharField(max_length=64)
    content_hash = models.CharField(max_length=64)
    arrays = models.BinaryField()
    summary = models.JSONField(default=dict, help_text="JSON-safe extract for pages: accuracy, recalls, class balance ...")
    n = models.IntegerField()
    accuracy = models.FloatField(null=True, blank=True)
    computed = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"behaviour signature of {self.version}"


class Alias(models.Model):
    """A movable name for one version of a model, for example `production`."""

    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="aliases")
    name = models.SlugField(max_length=40)
    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="aliases")
    moved = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["model", "name"], name="one_alias_per_model")]

    def __str__(self) -> str:
        return f"{self.model}@{self.name}"


class Review(models.Model):
    """A curator's decision on a version, with the reason the author is shown."""

    class Decision(models.TextChoices):
        APPROVE = "approve", "Approve and publish"
        ASK = "ask", "Ask for changes"
        REJECT = "reject", "Reject"

    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="reviews")
    reviewer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    decision = models.CharField(max_length=8, choices=Decision.choices)
    reason = models.TextField(blank=True)
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.decision} {self.version}"
