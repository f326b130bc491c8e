"""Reports: a frozen copy of a search's result with everything needed to read it later and to fetch the very same models."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, TypedDict

from django.db import transaction

from accounts.models import User, audit
from catalog.models import VersionFile
from gpuworker.core.errors import UserError
from gpuworker.core.specs import SCORERS
from search.basis import basis
from search.exports import BoardDocument, board_document
from search.models import Report, SampleSet, Search
from search.plots.board import board_plots
from search.rows import board_candidates, grade_of

FORMAT = "modelshop.report/1"
PINNED = 10


class NothingToReport(UserError):
    """A report needs at least one row with predictions."""

    code = "nothing_to_report"


class PinnedFile(TypedDict):
    name: str
    sha256: str
    size: int
    file: int


class PinnedVersion(TypedDict):
    """One version exactly: its place in the catalog and the digests of its files."""

    candidate: int
    team: str
    name: str
    number: int
    title: str
    program_hash: str
    files: list[PinnedFile]


class Method(TypedDict):
    key: str
    label: str
    grade: str
    help: str
    source: str


class ReportDocument(TypedDict):
    """board: as exported. samples: facts of the data. pinned: the first versions of the board. plots: as drawn then."""

    format: str
    board: BoardDocument
    basis: list[str]
    samples: dict[str, Any]
    leaders: list[str]
    pinned: list[PinnedVersion]
    methods: list[Method]
    plots: list[dict[str, Any]]


@transaction.atomic
def report_create(*, search: Search, actor: User) -> Report:
    """Freeze what the board says now. Raises NothingToReport before anything was measured."""
    if not search.candidates.filter(samples_done__gt=0).exists():
        raise NothingToReport(
            "There is nothing to report yet.", detail="No candidate has run on the samples.", fix="Wait for the first measured rows."
        )
    report = Report.objects.create(search=search, created_by=actor, payload=report_document(search))
    audit("report.create", report, actor=actor, after={"search": search.pk})
    return report


def report_document(search: Search) -> ReportDocument:
    rows = list(board_candidates(search))
    board = board_document(search)
    titles = {row.pk: row.version.model.title for row in rows}
    return {
        "format": FORMAT,
        "board": board,
        "basis": [rests.text, *rests.notes] if (rests := basis(search)) else [],
        "samples": _samples(search.sample_set),
        "leaders": [titles[pk] for pk in search.verdict.get("leaders", []) if pk in titles],
        "pinned": _pinned(search),
        "methods": [
            {"key": spec.key, "label": spec.label, "grade": grade_of(spec), "help": spec.help, "source": spec.source}
            for spec in SCORERS.values()
            if any(spec.key in row["scores"] for row in board["candidates"])
        ],
        "plots": [asdict(plot) for plot in board_plots(search)],
    }


def _samples(sample_set: SampleSet) -> dict[str, Any]:
    return {
        "name": sample_set.name,
        "modality": sample_set.modality,
        "n": sample_set.n,
        "n_seen": sample_set.n_seen,
        "n_problems": sample_set.n_problems,
        "exact_duplicates": sample_set.exact_duplicates,
        "near_duplicates": sample_set.near_duplicates,
        "size_bytes": sample_set.size_bytes,
        "content_hash": sample_set.content_hash,
        "reading": sample_set.guess.get("used", sample_set.options),
    }


def _pinned(search: Search) -> list[PinnedVersion]:
    rows = list(board_candidates(search).filter(samples_done__gt=0)[:PINNED])
    files: dict[int, list[PinnedFile]] = {}
    for file in VersionFile.objects.filter(version__in=[row.version_id for row in rows]):
        files.setdefault(file.version_id, []).append({"name": file.name, "sha256": file.sha256, "size": file.size, "file": file.pk})
    return [
        {
            "candidate": row.pk,
            "team": row.version.model.team.slug,
            "name": row.version.model.name,
            "number": row.version.number,
            "title": row.version.model.title,
            "program_hash": row.version.program_hash,
            "files": files.get(row.version_id, []),
        }
        for row in rows
    ]
