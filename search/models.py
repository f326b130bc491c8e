"""What a search is: a sample set, the candidates considered, their predictions and the events of the run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from operator import attrgetter
from pathlib import Path
from typing import Self, TypeVar

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import connection, models
from django.db.models import F, OuterRef, Q, Subquery
from django.urls import reverse
from django.utils import timezone

from accounts.models import Team, User
from catalog.cost_models import VersionCost
from catalog.models import ModelVersion, modality_choices
from search import labelling_models  # noqa: F401  (Django finds an app's tables through this module)


class SampleSetState(models.TextChoices):
    CHECKING = "checking", "Checking"
    READY = "ready", "Ready"
    FAILED = "failed", "Not usable"
    DELETED = "deleted", "Deleted"


def _retention() -> object:
    return timezone.now() + timedelta(days=settings.SAMPLE_RETENTION_DAYS)


_Row = TypeVar("_Row", bound=models.Model, covariant=True)


class SharedQuerySet(models.QuerySet[_Row]):
    """Rows that belong to one person and may be shared with one team."""

    def visible_to(self, user: User | AnonymousUser) -> Self:
        if not user.is_authenticated:
            return self.none()
        return self.filter(Q(owner=user) | Q(shared_with__in=user.teams.all()))

    def owned_by(self, user: User | AnonymousUser) -> Self:
        return self.filter(owner=user) if user.is_authenticated else self.none()


class SampleSetQuerySet(SharedQuerySet["SampleSet"]):
    def visible_to(self, user: User | AnonymousUser) -> Self:
        """Own and shared ones, and the demo sets, which everybody signed in may look at and search with."""
        if not user.is_authenticated:
            return self.none()
        return self.filter(Q(owner=user) | Q(shared_with__in=user.teams.all()) | Q(demo=True))


class SampleSet(models.Model):
    """Unlabelled samples of one person. Private unless shared; deleted with all that derives from it on `retain_until`."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="sample_sets")
    shared_with = models.ForeignKey(Team, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    name = models.CharField(max_length=140)
    state = models.CharField(max_length=10, choices=SampleSetState.choices, default=SampleSetState.CHECKING)
    modality = models.CharField(max_length=10, choices=modality_choices, blank=True)
    options = models.JSONField(default=dict, help_text="Reader options; empty = guess")
    guess = models.JSONField(default=dict, help_text="What was guessed and why")
    meta = models.JSONField(default=dict, help_text="Columns, channels, rate: what compatibility is judged by")
    n = models.IntegerField(default=0)
    n_seen = models.IntegerField(default=0)
    problems = models.JSONField(default=list)
    n_problems = models.IntegerField(default=0)
    exact_duplicates = models.IntegerField(default=0)
    near_duplicates = models.IntegerField(default=0)
    preview = models.JSONField(default=list)
    content_hash = models.CharField(max_length=64, blank=True)
    signature = models.BinaryField(null=True, blank=True)
    size_bytes = models.BigIntegerField(default=0)
    demo = models.BooleanField(default=False)
    error_title = models.CharField(max_length=300, blank=True)
    error_detail = models.TextField(blank=True)
    error_fix = models.TextField(blank=True)
    created = models.DateTimeField(default=timezone.now)
    retain_until = models.DateTimeField(default=_retention, null=True, blank=True)

    objects = SampleSetQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["owner", "-id"], name="sampleset_owner"),
            models.Index(fields=["retain_until"], name="sampleset_retention"),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("search:sampleset_detail", args=[self.pk])

    @property
    def folder(self) -> Path:
        return settings.SAMPLE_DIR / str(self.pk)

    @property
    def batch_path(self) -> Path:
        return self.folder / "batch.safetensors"


class SampleFile(models.Model):
    """An uploaded file of a sample set, at `folder / stored`."""

    sample_set = models.ForeignKey(SampleSet, on_delete=models.CASCADE, related_name="files")
    name = models.CharField(max_length=1000)
    stored = models.CharField(max_length=40)
    size = models.BigIntegerField()
    sha256 = models.CharField(max_length=64, blank=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.name


class SearchState(models.TextChoices):
    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    FINISHED = "finished", "Finished"
    STOPPED = "stopped", "Stopped"
    FAILED = "failed", "Failed"


class Search(models.Model):
    """One question: which of these models will work on this sample set? `last_seq` numbers its events."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="searches")
    shared_with = models.ForeignKey(Team, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    sample_set = models.ForeignKey(SampleSet, on_delete=models.CASCADE, related_name="searches")
    rerun_of = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="reruns")
    name = models.CharField(max_length=140)
    state = models.CharField(max_length=10, choices=SearchState.choices, default=SearchState.QUEUED)
    stage = models.CharField(max_length=120, blank=True)
    constraints = models.JSONField(default=dict)
    labels = models.JSONField(default=list, help_text="The label space, in the order of stored predictions")
    scorers = models.JSONField(default=list)
    metric = models.JSONField(default=dict, help_text="What to predict, as search.metrics stores it; empty = accuracy")
    drop_level = models.FloatField(null=True, blank=True, help_text="Chance of being among the best under which a row leaves; null = never")
    probes = models.JSONField(
        default=dict, help_text="The labelled probes chosen when the search began, or why there are none; a resumed run reads them here"
    )
    rungs_done = models.IntegerField(default=0, help_text="Rungs after which it was decided who leaves the race")
    n_samples = models.IntegerField(default=0)
    samples_done = models.IntegerField(default=0, help_text="Samples every live candidate has seen")
    last_seq = models.BigIntegerField(default=0)
    verdict = models.JSONField(default=dict)
    excluded = models.JSONField(default=list, help_text="[{reason, count, examples}]: models left out, and why")
    compute_seconds = models.FloatField(default=0)
    plan = models.JSONField(
        default=dict,
        help_text="How the candidates run as one: the plan, its drawing, predicted and actual cost; empty = one by one",
    )
    created = models.DateTimeField(default=timezone.now)
    started = models.DateTimeField(null=True, blank=True)
    prior_at = models.DateTimeField(null=True, blank=True)
    first_row_at = models.DateTimeField(null=True, blank=True)
    finished = models.DateTimeField(null=True, blank=True)
    error_title = models.CharField(max_length=300, blank=True)
    error_detail = models.TextField(blank=True)
    error_fix = models.TextField(blank=True)

    objects = SharedQuerySet["Search"].as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "searches"
        indexes = [models.Index(fields=["owner", "-id"], name="search_owner")]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("search:search_detail", args=[self.pk])

    @property
    def is_live(self) -> bool:
        return self.state in (SearchState.QUEUED, SearchState.RUNNING)

    @property
    def device(self) -> str:
        """Name of the device that was asked about, "" for none."""
        return str(self.constraints.get("device") or "")


class SearchPlan(models.Model):
    """How the candidates of a search run as one. Apart from the search's row, since it grows with their number."""

    search = models.OneToOneField(Search, on_delete=models.CASCADE, related_name="execution")
    plan = models.JSONField(help_text="As the engine takes it up again")
    drawing = models.JSONField(help_text="Parts of the plan: what each reads, serves, and is made of")
    candidates = models.JSONField(help_text="Candidate ids, in the order of the plan's numbers")
    device = models.CharField(max_length=200)
    measured = models.BooleanField(help_text="Whether costs had been measured on that device before")
    worked = models.JSONField(default=dict, help_text="Part > milliseconds it took")

    def __str__(self) -> str:
        return f"plan of search {self.search_id}"


class CandidateState(models.TextChoices):
    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    FINISHED = "finished", "Finished"
    ELIMINATED = "eliminated", "Left the race"
    FAILED = "failed", "Failed"
    STOPPED = "stopped", "Stopped"


OUT_OF_RACE = (CandidateState.FAILED, CandidateState.ELIMINATED)  # the others do not wait for these


class CandidateQuerySet(models.QuerySet["Candidate"]):
    def write(self, candidates: Iterable[Candidate], fields: Sequence[str]) -> None:
        """Write these fields of rows, in one statement that names nothing else: an upsert would send whole rows, and `bulk_update` builds a
        CASE for every field and row."""
        rows = sorted(candidates, key=attrgetter("pk"))
        if not rows:
            return
        named = [field for field in self.model._meta.concrete_fields if field.name in fields]
        quote = connection.ops.quote_name
        table, columns = quote(self.model._meta.db_table), [quote(field.attname) for field in named]
        told = ", ".join(f"{name} = v.{name}::{field.db_type(connection)}" for name, field in zip(columns, named, strict=True))
        values = [[row.pk, *(field.get_db_prep_save(getattr(row, field.attname), connection) for field in named)] for row in rows]
        lines = ", ".join([f"({', '.join(['%s'] * (1 + len(named)))})"] * len(rows))
        statement = f"UPDATE {table} AS c SET {told} FROM (VALUES {lines}) AS v(id, {', '.join(columns)}) WHERE c.id = v.id"  # noqa: S608
        with connection.cursor() as cursor:
            cursor.execute(statement, [value for line in values for value in line])

    def taking(self, device: str) -> Self:
        """With `latency_ms` and `memory_bytes` of one sample: predicted for the device of that name, without one as measured."""
        names = ("latency_ms", "memory_bytes")
        if not device:
            return self.annotate(**{name: F(f"version__{name}") for name in names})
        costs = VersionCost.objects.filter(version=OuterRef("version"), device__name=device)
        return self.annotate(**{name: Subquery(costs.values(name)[:1]) for name in names})


class Candidate(models.Model):
    """One model version in one search. `updated_seq` is the event that last changed the row, so a browser that
    has seen event k needs the rows with updated_seq > k."""

    search = models.ForeignKey(Search, on_delete=models.CASCADE, related_name="candidates")
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="candidacies")
    state = models.CharField(max_length=10, choices=CandidateState.choices, default=CandidateState.QUEUED)
    position = models.IntegerField(default=0, help_text="Place on the board; ties share rank_from..rank_to but not a position")
    prior_rank = models.IntegerField(null=True, blank=True)
    prior_scores = models.JSONField(default=dict, help_text="scorer key > {value, why}")
    scores = models.JSONField(default=dict, help_text="scorer key > {value, low, high, why}")
    predicted = models.FloatField(null=True, blank=True, help_text="Predicted quality in [0, 1]; null = cannot tell, see why")
    low = models.FloatField(null=True, blank=True)
    high = models.FloatField(null=True, blank=True)
    why = models.CharField(max_length=400, blank=True)
    method = models.CharField(max_length=30, blank=True, help_text="Key of the scorer behind the prediction")
    p_best = models.FloatField(null=True, blank=True)
    rank_from = models.IntegerField(null=True, blank=True)
    rank_to = models.IntegerField(null=True, blank=True)
    samples_done = models.IntegerField(default=0)
    history = models.JSONField(default=list, help_text="[[samples, predicted, low, high], ...]")
    predicted_balance = models.JSONField(default=list, help_text="Share of samples given to each label")
    seconds = models.FloatField(default=0)
    error_title = models.CharField(max_length=300, blank=True)
    error_detail = models.TextField(blank=True)
    error_fix = models.TextField(blank=True)
    updated_seq = models.BigIntegerField(default=0)

    latency_ms: float | None  # of `CandidateQuerySet.taking`
    memory_bytes: int | None

    objects = CandidateQuerySet.as_manager()

    class Meta:
        ordering = ["position", "id"]
        constraints = [models.UniqueConstraint(fields=["search", "version"], name="one_candidacy_per_search")]
        indexes = [models.Index(fields=["search", "updated_seq"], name="candidate_updates")]

    def __str__(self) -> str:
        return f"{self.version} in {self.search_id}"


class PredictionChunk(models.Model):
    """Log-probabilities of one candidate on samples [start, stop), float16 (stop - start, C), little-endian.

    The constraint is what makes sure that no candidate is scored twice on the same samples."""

    candidate = models.ForeignKey(Candidate, on_delete=models.CASCADE, related_name="chunks")
    start = models.IntegerField()
    stop = models.IntegerField()
    log_probs = models.BinaryField()
    seconds = models.FloatField(default=0)

    class Meta:
        ordering = ["candidate_id", "start"]
        constraints = [models.UniqueConstraint(fields=["candidate", "start"], name="no_sample_scored_twice")]

    def __str__(self) -> str:
        return f"{self.candidate_id} [{self.start}, {self.stop})"


class SearchEvent(models.Model):
    """What happened, numbered per search without gaps. Payloads are typed in events.py."""

    search = models.ForeignKey(Search, on_delete=models.CASCADE, related_name="events")
    seq = models.BigIntegerField()
    kind = models.CharField(max_length=30)
    payload = models.JSONField(default=dict)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["search_id", "seq"]
        constraints = [models.UniqueConstraint(fields=["search", "seq"], name="one_event_per_number")]

    def __str__(self) -> str:
        return f"{self.search_id}#{self.seq} {self.kind}"


class Report(models.Model):
    """A frozen copy of a search's result, as it was when the report was made."""

    search = models.ForeignKey(Search, on_delete=models.CASCADE, related_name="reports")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    created = models.DateTimeField(default=timezone.now)
    payload = models.JSONField()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"report {self.pk} of {self.search_id}"
