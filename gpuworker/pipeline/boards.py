"""From the core's board to rows: what the page shows of each candidate, saved with the event that tells of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from django.utils import timezone

from gpuworker.core.metrics import ACCURACY
from gpuworker.core.protocols import Estimate
from gpuworker.core.ranking import Board, PriorScore, Row
from search.events import event_add
from search.metrics import metric_name
from search.models import OUT_OF_RACE, Candidate, CandidateState, Search
from search.ranks import shown_ranks

ROW_FIELDS = [
    "position", "scores", "predicted", "low", "high", "why", "method", "p_best", "rank_from", "rank_to", "history", "state",
]  # fmt: skip


def prior_save(
    search: Search, candidates: Sequence[Candidate], scores: Sequence[PriorScore], probes: dict[str, Any], *, seconds: float
) -> None:
    """Prior order of all candidates, and the probes it and all boards rest on. Runs in the caller's transaction."""
    order = sorted(range(len(scores)), key=lambda index: (scores[index].position, candidates[index].pk))
    for place, index in enumerate(order):
        candidate = candidates[index]
        candidate.position = place
        candidate.prior_rank = scores[index].position
        candidate.prior_scores = _estimates(scores[index].estimates)
        candidate.why = scores[index].why[:400]
    Candidate.objects.write(candidates, ["position", "prior_rank", "prior_scores", "why"])
    event_add(
        search,
        "prior",
        {"candidates": len(candidates), "seconds": round(seconds, 4)},
        rows=[candidate.pk for candidate in candidates],
        fields={"prior_at": timezone.now(), "stage": "Running candidates", "probes": probes},
    )


def board_save(search: Search, candidates: Sequence[Candidate], scored: Board, samples: int, *, rungs: int = 0) -> None:
    """A board after new predictions: only the rows that changed are written and sent. Runs in the caller's transaction.

    samples: what every live candidate has seen. The estimate's history grows when that number does. rungs: how many are behind it.
    A row may share its rank with others than before though nothing of its own changed; it is sent too.
    """
    racing = {candidate.pk for candidate in candidates if candidate.state not in OUT_OF_RACE}
    changed: list[Candidate] = []
    ranks = shown_ranks(candidates)
    for place, index in enumerate(_order(candidates, scored)):
        candidate, row = candidates[index], scored.rows[index]
        before = {name: getattr(candidate, name) for name in ROW_FIELDS}
        candidate.position = place
        if candidate.state not in OUT_OF_RACE:
            _fill(candidate, row, search.n_samples, samples)
        if before != {name: getattr(candidate, name) for name in ROW_FIELDS}:
            changed.append(candidate)
    Candidate.objects.write(changed, ROW_FIELDS)
    moved = {pk for pk, rank in shown_ranks(candidates).items() if ranks.get(pk) != rank}
    stage = "Ranking done" if samples >= search.n_samples else f"Running candidates: {samples} of {search.n_samples} samples seen by all"
    fields: dict[str, Any] = {"verdict": _verdict(search, candidates, scored), "samples_done": samples, "stage": stage, "rungs_done": rungs}
    if search.first_row_at is None and any(row.grade == "predicted" for row in scored.rows):
        fields["first_row_at"] = timezone.now()
    left = [candidate.pk for candidate in candidates if candidate.pk in racing and candidate.state == CandidateState.ELIMINATED]
    payload = {"samples": samples, "of": search.n_samples, "left": left}
    rows = moved.union(candidate.pk for candidate in changed)
    event_add(search, "rung", payload, rows=rows, fields=fields)  # type: ignore[arg-type]


def _fill(candidate: Candidate, row: Row, n_samples: int, samples: int) -> None:
    candidate.scores = _estimates(row.estimates)
    candidate.predicted, candidate.low, candidate.high = _short(row.predicted), _short(row.low), _short(row.high)
    candidate.p_best, candidate.rank_from, candidate.rank_to = _short(row.p_best), row.rank_from, row.rank_to
    candidate.method = row.method
    if row.grade == "predicted":
        candidate.why = row.why[:400]
        if samples and row.samples == samples and (not candidate.history or candidate.history[-1][0] < samples):
            candidate.history = [*candidate.history, [samples, candidate.predicted, candidate.low, candidate.high]]
    if row.left:
        candidate.state = CandidateState.ELIMINATED
    elif candidate.samples_done >= n_samples:
        candidate.state = CandidateState.FINISHED


def left_row(index: int, candidate: Candidate) -> Row:
    """A candidate that has left the race, as the core made its last row; its figures stay."""
    return Row(
        index,
        {key: Estimate(**told) for key, told in candidate.scores.items()},
        "predicted",
        candidate.samples_done,
        candidate.predicted,
        candidate.low,
        candidate.high,
        method=candidate.method,
        rank_from=candidate.rank_from,
        rank_to=candidate.rank_to,
        p_best=candidate.p_best,
        why=candidate.why,
        left=True,
    )


def _order(candidates: Sequence[Candidate], scored: Board) -> list[int]:
    """Best first; those without a prediction keep their prior order behind, failed ones come last."""

    def place(index: int) -> tuple[int, int]:
        if candidates[index].state == CandidateState.FAILED:
            return 2, index
        measured = scored.rows[index].grade == "predicted"
        return (0, rank[index]) if measured else (1, index)

    rank = {index: number for number, index in enumerate(scored.order)}
    return sorted(range(len(candidates)), key=place)


def _verdict(search: Search, candidates: Sequence[Candidate], scored: Board) -> dict[str, Any]:
    """The verdict with candidate ids for indexes, and the leaders' names, so that the sentence can be read alone.

    metric: what the predictions speak of, by name; method: key of the scorer behind the first of them.
    """
    document = asdict(scored.verdict)
    document["metric"] = metric_name({} if scored.metric == ACCURACY else search.metric)
    document["method"] = next((scored.rows[index].method for index in scored.order if scored.rows[index].method), "")
    document["leaders"] = [candidates[index].pk for index in scored.verdict.leaders]
    document["leader_names"] = [str(candidates[index].version.model.title) for index in scored.verdict.leaders]
    return document


def _estimates(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {
        key: {name: _short(value) if isinstance(value, float) else value for name, value in asdict(item).items()}
        for key, item in estimates.items()
    }


def _short(value: float | None) -> float | None:
    return None if value is None else round(float(value), 6)
