"""Measuring how wrong predictions with a choice of probes are: in the background, for every metric, whenever probes or answers changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import groupby

import numpy as np
from django.db.models import Count, QuerySet
from django.utils import timezone

from accounts.models import Team
from catalog import dispatch
from catalog.probe_models import ProbeAnswers, ProbeSetVersion, ProbeSlice, ProbeSliceQuerySet
from catalog.probes import canonical_order, set_key, usable
from gpuworker.core.metrics import ACCURACY, Metric
from gpuworker.core.probes.calibration import LEVELS, UNCALIBRATED, Calibration
from gpuworker.core.protocols import CandidateView
from gpuworker.core.ranking.calibrate import Errors, calibrations, confirmed_errors
from gpuworker.pipeline.background import give_way
from gpuworker.pipeline.lease import Lease
from gpuworker.pipeline.probes import Probes, catalog_probes, choice_of, without_features
from search.labelling_residuals import confirmations_for_calibration, residuals_for_calibration
from search.metrics import calibration_key, metric_of
from search.models import Search

MOST_MODELS = 64  # drawn at random where more have answered
FEW_LABELS = 3  # up to which F1 is measured for each label
LOOKED_BACK, MOST_ASKED = 200, 6  # searches in which to find metrics that nobody can foresee; of these, the latest so many


def run_calibration(lease: Lease) -> None:
    """Job catalog.calibrate: a table for accuracy, then those of all other metrics in one go. Another attempt goes on after the first.

    Before every made-up search it gives way to whatever people wait for.
    """
    made = ProbeSetVersion.objects.filter(pk=lease.job.subject_id).first()
    pieces = list(without_features(ProbeSlice.objects.offered().filter(pk__in=made.pieces))) if made else []
    probes = catalog_probes(pieces)
    if made is None or probes is None or probes.set_version != made:
        return  # withdrawn meanwhile
    candidates, answers, confirmed = _drawn(probes), answers_digest(made), confirmed_with(made)
    metrics = metrics_of(pieces[0].labels) | asked_for(made, pieces[0].labels)
    todo = [(key, metric) for key, metric in metrics.items() if made.calibration.get(key, {}).get("answers") != answers]

    def step() -> None:
        lease.check()
        give_way()

    first = [(key, metric) for key, metric in todo if metric == ACCURACY]
    for batch in filter(None, (first, [item for item in todo if item not in first])):
        done = todo.index(batch[0])
        lease.progress(done / len(todo), f"{len(todo) - done} metrics to go")
        tables = calibrations(probes.view, candidates, [metric for _, metric in batch], confirmed=confirmed, step=step)
        facts = {"levels": LEVELS, "models": len(candidates), "answers": answers, "made": timezone.now().isoformat()}
        made.calibration |= {key: {"table": table.document(), **facts} for (key, _), table in zip(batch, tables, strict=True)}
        with lease.write():
            ProbeSetVersion.objects.filter(pk=made.pk).update(calibration=made.calibration)


def calibrations_start(set_key: str) -> int:
    """Queue a measurement for each choice of these probes that some team's searches make and that lacks one; how many.

    A team's searches take its own slices and the public ones.
    """
    offered = ProbeSlice.objects.offered().filter(set_key=set_key)
    public = offered.filter(team__probe_sharing__public=True)
    teams = Team.objects.filter(probe_slices__in=offered.values("pk")).distinct()
    choices = [public, *(offered.filter(team=team) | public for team in teams)]
    made = {found.pk: found for slices in choices if (found := _version_of(slices)) is not None}
    return sum(calibration_start(found) for found in made.values())


def calibration_start(made: ProbeSetVersion, key: str = "accuracy") -> bool:
    """Queue the measurement if that of this metric is missing, or made with the answers of other models."""
    due: bool = made.calibration.get(key, {}).get("answers") != answers_digest(made)
    if due:
        dispatch.calibrate(made=made)
    return due


def confirmed_with(made: ProbeSetVersion) -> list[Errors]:
    """Of searches that rested on probes for the same labels, and whose owners let their labels show how far predictions were off."""
    found = []
    for search, rows in groupby(residuals_for_calibration(_searches_like(made)), key=lambda row: row.search):
        own, kept = list(rows), Search.objects.values_list("probes__calibration", flat=True).get(pk=search)
        predicted, low, high, seen, error = np.array([(r.predicted, r.low, r.high, r.measured, r.error) for r in own]).T
        half = np.maximum(predicted - low, high - predicted)
        table = Calibration.of_document(kept) if kept else UNCALIBRATED
        found.append(confirmed_errors(search, predicted, half, seen, error, table))
    return found


def _searches_like(made: ProbeSetVersion) -> QuerySet[Search]:
    digests = ProbeSetVersion.objects.filter(set_key=made.set_key).values_list("digest", flat=True)
    return Search.objects.filter(probes__digest__in=list(digests))


def answers_digest(made: ProbeSetVersion) -> str:
    """Of what a measurement would rest on today: the searchable versions that have answered all slices of the choice, and confirmed
    searches."""
    found = ProbeAnswers.objects.of_searchable().filter(piece__in=made.pieces, log_probs__isnull=False).order_by("version")
    whole = found.values_list("version").annotate(n=Count("pk")).filter(n=len(made.pieces))
    confirmed = confirmations_for_calibration(_searches_like(made)).order_by("search").values_list("search", "n")
    text = ",".join(str(version) for version, _ in whole) + "".join(f";{search}:{n}" for search, n in confirmed)
    return hashlib.sha256(text.encode()).hexdigest()


def metrics_of(labels: Iterable[str]) -> dict[str, Metric]:
    """Metrics that are always measured, by the key they are kept under, for probes with these labels in canonical order."""
    names = canonical_order(labels)
    found = {"accuracy": ACCURACY, "balanced_accuracy": Metric("balanced_accuracy"), "macro_f1": Metric("macro_f1")}
    if len(names) <= FEW_LABELS:
        found |= {calibration_key({"kind": "f1", "label": name}): Metric("f1", label=place) for place, name in enumerate(names)}
    return found


def asked_for(made: ProbeSetVersion, labels: Iterable[str]) -> dict[str, Metric]:
    """As `metrics_of`: cost matrices and F1 of single labels that the latest searches with these labels asked for."""
    names, found = canonical_order(labels), dict[str, Metric]()
    searches = Search.objects.filter(metric__kind__in=("cost", "f1")).select_related("sample_set").order_by("-pk")
    for search in searches[:LOOKED_BACK]:
        if set_key(search.sample_set.modality, search.labels, search.sample_set.meta) == made.set_key and len(found) < MOST_ASKED:
            found[calibration_key(search.metric)] = metric_of(search.metric, names)
    return found


def _version_of(slices: ProbeSliceQuerySet) -> ProbeSetVersion | None:
    choice = choice_of(usable(without_features(slices)))
    return choice[2] if choice else None


def _drawn(probes: Probes) -> list[CandidateView]:
    """The versions that answered, at most 64 of them, the same ones every time."""
    places = np.arange(len(probes.versions))
    if len(places) > MOST_MODELS:
        places = np.sort(np.random.default_rng(0).permutation(places)[:MOST_MODELS])
    return [CandidateView({}, None, probes.answers[place], probes.sources[int(probes.versions[place])]) for place in places]
