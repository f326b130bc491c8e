"""Labelled probes: slices that people gave, how models answered them, and versions of the sets they make up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from accounts.models import Role, Team, User, Visibility
from catalog.storage import labelled_folder, probes_path

if TYPE_CHECKING:  # which imports this module, so that Django finds its tables
    from catalog.models import ModelVersion

OF_SAMPLES = Q(version=None)
APPROVED = OF_SAMPLES | Q(version__published__isnull=False, version__state__in=("published", "archived"), version__model__deleted=None)
ROWS = ("features", "row_hashes", "row_labels")
WHOLE = Q(withdrawn=None, **{f"{name}__isnull": False for name in ROWS})
EMPTY = Q(**{f"{name}__isnull": True for name in ROWS})


class ProbeSliceQuerySet(models.QuerySet["ProbeSlice"]):
    def kept(self) -> ProbeSliceQuerySet:
        """Slices whose rows are there."""
        return self.filter(withdrawn=None, row_hashes__isnull=False)

    def unmade(self) -> ProbeSliceQuerySet:
        """Slices of labelled samples whose rows a worker has yet to take out of the samples."""
        return self.filter(OF_SAMPLES, withdrawn=None, row_hashes=None)

    def approved(self) -> ProbeSliceQuerySet:
        """Models are run on these: kept slices of labelled samples, and of versions a curator approved, their models not deleted."""
        return self.kept().filter(APPROVED)

    def for_check_of(self, version: ModelVersion) -> ProbeSliceQuerySet:
        """Slices for the labels of a version that it has not answered yet: approved ones and its own."""
        same = self.kept().filter(modality=version.model.modality, label_key=version.label_key)
        return same.filter(APPROVED | Q(version=version)).exclude(answers__version=version)

    def offered(self) -> ProbeSliceQuerySet:
        """Approved slices that the team's probe sets hold. While a model is private, its slice is too."""
        return self.approved().filter(OF_SAMPLES | ~Q(version__model__visibility=Visibility.PRIVATE))

    def open_to(self, user: User) -> ProbeSliceQuerySet:
        """Offered slices that this person's searches may use: of their teams, and of teams that let everybody."""
        if not user.is_authenticated:
            return self.none()
        if user.is_superuser:
            return self.offered()
        shared = ProbeSharing.objects.filter(team=OuterRef("team"), public=True)
        return self.offered().filter(Q(team__in=user.teams.all()) | Exists(shared))

    def withdrawable_by(self, user: User) -> ProbeSliceQuerySet:
        """Slices of labelled samples, unmade ones too, that this person may take back: their own, and those of teams they curate.

        What a version gave is taken back with its reference sample.
        """
        given = self.filter(OF_SAMPLES, withdrawn=None)
        if not user.is_authenticated:
            return self.none()
        return given if user.is_superuser else given.filter(Q(owner=user) | Q(team__in=user.teams_with_role(Role.CURATOR)))

    def lean(self) -> ProbeSliceQuerySet:
        """With model, team and giver, without the arrays."""
        return self.select_related("version__model__team", "team", "owner", "given_by").defer(
            *ROWS, "version__program", "version__spec", "version__facts"
        )


class ProbeSlice(models.Model):
    """At most 1,000 labelled rows, kept because somebody gave them: rows of a version's reference sample, or, without a version,
    samples that people labelled. They never change.

    The rows stand in the order of `probesets.selection.kept_rows`, so that a set takes a beginning of them. Withdrawn, only this
    row stays, without any data. A slice of labelled samples begins without data too, until a worker has taken its rows.
    """

    version = models.OneToOneField("catalog.ModelVersion", null=True, blank=True, on_delete=models.CASCADE, related_name="probe_slice")
    samples = models.CharField(max_length=64, blank=True, help_text="Without a version: digest of the sample set that the rows are of")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="probe_slices")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="+",
        help_text="The model's owner, or who gave the labelled samples",
    )
    set_key = models.CharField(max_length=16, db_index=True, help_text="Slices with the same key make up one probe set of their team")
    modality = models.CharField(max_length=10)
    label_key = models.CharField(max_length=64)
    labels = models.JSONField(help_text="Label names; the order of row_labels and of the columns of answers")
    meta = models.JSONField(default=dict, help_text="Of the sample batch: columns, channels, rate")
    n = models.IntegerField()
    encoder = models.CharField(max_length=40, help_text="Version of the probe features")
    features = models.BinaryField(null=True, blank=True, help_text="(n, D) float16, little-endian")
    row_hashes = models.BinaryField(null=True, blank=True, help_text="(n, 16) uint8: equal for equal rows")
    row_labels = models.BinaryField(null=True, blank=True, help_text="(n,) uint16, little-endian")
    size_bytes = models.BigIntegerField(default=0, help_text="Of the file with the rows and of the arrays")
    given_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    given = models.DateTimeField(default=timezone.now)
    answered = models.DateTimeField(null=True, blank=True, help_text="When every model had been run on it; from then on searches use it")
    withdrawn = models.DateTimeField(null=True, blank=True)
    withdrawn_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")

    objects = ProbeSliceQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(version__isnull=False, samples="")
                | OF_SAMPLES & (Q(withdrawn__isnull=False, samples="") | Q(withdrawn=None) & ~Q(samples="")),
                name="slice_of_a_version_or_of_samples",
            ),
            models.CheckConstraint(
                condition=WHOLE | EMPTY & (Q(withdrawn__isnull=False) | OF_SAMPLES), name="slice_with_all_its_rows_or_none"
            ),
        ]

    def __str__(self) -> str:
        return f"probes of {self.version}" if self.version else f"labelled samples of {self.owner}"

    @property
    def path(self) -> Path:
        """The rows as one canonical sample batch."""
        return labelled_folder(self.pk) / "probes.safetensors" if self.version_id is None else probes_path(self.version_id)

    @property
    def origin(self) -> str:
        """Equal for slices that come from one source whatever their rows are: one model's, or labelled samples of one set."""
        return f"samples {self.samples}" if self.version is None else f"model {self.version.model_id}"


class ProbeAnswersQuerySet(models.QuerySet["ProbeAnswers"]):
    def of_searchable(self) -> ProbeAnswersQuerySet:
        """Of versions that searches consider."""
        return self.filter(version__state="published", version__model__deleted=None, version__model__published_version=F("version"))


class ProbeAnswers(models.Model):
    """One version's answers on one slice, or why there are none.

    log_probs: (n, C) float16 little-endian, columns in the slice's label order. seen: packed bits (n,), rows that the version's own
    reference sample holds too; they are not judged. judged, correct: rows that count, and those of them answered rightly.
    """

    version = models.ForeignKey("catalog.ModelVersion", on_delete=models.CASCADE, related_name="probe_answers")
    piece = models.ForeignKey(ProbeSlice, on_delete=models.CASCADE, related_name="answers")
    log_probs = models.BinaryField(null=True, blank=True)
    seen = models.BinaryField(null=True, blank=True)
    judged = models.IntegerField(default=0)
    correct = models.IntegerField(default=0)
    error = models.CharField(max_length=300, blank=True)
    computed = models.DateTimeField(default=timezone.now)

    objects = ProbeAnswersQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["version", "piece"], name="one_answer_per_version_and_slice")]

    def __str__(self) -> str:
        return f"answers of {self.version_id} on {self.piece_id}"

    @property
    def accuracy(self) -> float | None:
        return self.correct / self.judged if self.judged else None


class ProbeSetVersion(models.Model):
    """One choice of probes that a search has used, by the digest of its rows."""

    digest = models.CharField(max_length=64, unique=True)
    set_key = models.CharField(max_length=16, db_index=True)
    n = models.IntegerField()
    sources = models.IntegerField()
    pieces = models.JSONField(default=list, help_text="Ids of the slices that the choice was made from")
    made = models.DateTimeField(default=timezone.now)
    calibration = models.JSONField(
        default=dict, help_text="How wrong predictions with these probes are: metric > {table, levels, models, answers, made}"
    )

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.digest[:12]

    def table(self, metric: str) -> dict[str, Any]:
        """The calibration for a metric key, as `gpuworker.core.probes.calibration.Calibration` writes itself; {} for none."""
        return dict(self.calibration.get(metric, {}).get("table", {}))


class ProbeSharing(models.Model):
    """Whether everybody's searches may use a team's probes. A team without a row keeps them to itself."""

    team = models.OneToOneField(Team, on_delete=models.CASCADE, related_name="probe_sharing")
    public = models.BooleanField(default=False)

    def __str__(self) -> str:
        return f"{self.team}: {'everybody' if self.public else 'the team'}"
