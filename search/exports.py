"""The board as a document: JSON as it stands in reports and the API, CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
from typing import Any, TypedDict

from django.utils import timezone

from gpuworker.core.specs import SCORERS
from search.basis import basis_document
from search.labelling_models import confirmed
from search.models import Candidate, CandidateState, Search
from search.ranks import Rank, shown_ranks
from search.rows import board_candidates, grade_of

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class BoardRow(TypedDict):
    """One candidate. Shares are in [0, 1]; null is "not known", never 0. grade: prior = nothing executed.

    rank: as shown, shared by rows that cannot be separated; rank_from, rank_to: the places that the row itself may hold. confirmed_*:
    grade "confirmed" with so many labels, 0 for none.
    """

    id: int
    position: int
    model: str
    version: int
    title: str
    licence: str
    state: str
    grade: str
    rank: int | None
    rank_from: int | None
    rank_to: int | None
    predicted_accuracy: float | None
    low: float | None
    high: float | None
    p_best: float | None
    confirmed_accuracy: float | None
    confirmed_low: float | None
    confirmed_high: float | None
    confirmed_labels: int
    why: str
    samples: int
    latency_ms: float | None
    memory_bytes: int | None
    size_bytes: int | None
    prior_place: int | None
    scores: dict[str, Any]
    error: str


class BoardDocument(TypedDict):
    """A search and its board at one moment."""

    format: str
    at: str
    search: dict[str, Any]
    verdict: dict[str, Any]
    constraints: dict[str, Any]
    labels: list[str]
    candidates: list[BoardRow]
    excluded: list[dict[str, Any]]


def board_document(search: Search) -> BoardDocument:
    """Two queries: the candidates with their models, and the sample set if it was not loaded."""
    return {
        "format": "modelshop.board/1",
        "at": timezone.now().isoformat(),
        "search": {
            "id": search.pk,
            "name": search.name,
            "state": search.state,
            "samples": search.n_samples,
            "samples_done": search.samples_done,
            "sample_set": search.sample_set.name,
            "created": search.created.isoformat(),
            "finished": search.finished.isoformat() if search.finished else None,
            "compute_seconds": round(search.compute_seconds, 3),
            "scorers": list(search.scorers),
            "metric": dict(search.metric),
            "drop_level": search.drop_level,
            "probes": basis_document(search),
        },
        "verdict": dict(search.verdict),
        "constraints": dict(search.constraints),
        "labels": list(search.labels),
        "candidates": board_rows(search),
        "excluded": list(search.excluded),
    }


def board_rows(search: Search) -> list[BoardRow]:
    """All rows as values, best first; one query."""
    candidates = list(board_candidates(search))
    ranks = shown_ranks(candidates)
    return [board_row(row, ranks.get(row.pk)) for row in candidates]


def board_row(row: Candidate, rank: Rank | None) -> BoardRow:
    """The row as a value; version__model__team must be loaded."""
    version, model, seen = row.version, row.version.model, confirmed(row)
    ran = row.samples_done > 0 and row.state != CandidateState.FAILED
    return {
        "id": row.pk,
        "position": row.position + 1,
        "model": str(model),
        "version": version.number,
        "title": model.title,
        "licence": model.licence,
        "state": row.state,
        "grade": "predicted" if ran else "prior",
        "rank": rank.rank if ran and rank else None,
        "rank_from": row.rank_from if ran else None,
        "rank_to": row.rank_to if ran else None,
        "predicted_accuracy": row.predicted if ran else None,
        "low": row.low if ran else None,
        "high": row.high if ran else None,
        "p_best": row.p_best if ran else None,
        "confirmed_accuracy": seen.value if seen else None,
        "confirmed_low": seen.low if seen else None,
        "confirmed_high": seen.high if seen else None,
        "confirmed_labels": seen.n if seen else 0,
        "why": row.why,
        "samples": row.samples_done,
        "latency_ms": row.latency_ms,
        "memory_bytes": row.memory_bytes,
        "size_bytes": version.size_bytes,
        "prior_place": row.prior_rank,
        "scores": {key: told for key, told in {**row.prior_scores, **row.scores}.items() if key in SCORERS},
        "error": " ".join(part for part in (row.error_title, row.error_detail) if part),
    }


def board_csv(document: BoardDocument) -> str:
    """One line per candidate; scorer columns carry their grade in the name. Cells that a spreadsheet would run get a quote in front."""
    keys = [key for key in SCORERS if any(key in row["scores"] for row in document["candidates"])]
    names = [name for name in BoardRow.__annotations__ if name != "scores"]
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([*names, *(f"{key} ({grade_of(SCORERS[key])})" for key in keys)])
    for row in document["candidates"]:
        values = [_cell(row[name]) for name in names]  # type: ignore[literal-required]  # names are its own keys
        writer.writerow([*values, *(_cell(row["scores"].get(key, {}).get("value")) for key in keys)])
    return out.getvalue()


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text
