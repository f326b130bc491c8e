"""What one row of the board shows, worked out once for page, socket and polling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from django.db.models import QuerySet

from gpuworker.core.specs import SCORERS, ScorerSpec
from search.metrics import predicted_name
from search.models import Candidate, CandidateState, Search
from search.ranks import NEEDED, Rank, shown_ranks

SPARK_WIDTH, SPARK_HEIGHT = 100.0, 24.0


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the board. grade: of its figures, "" where they are facts. hidden: shown only when chosen."""

    key: str
    label: str
    help: str = ""
    numeric: bool = False
    sortable: bool = True
    grade: str = ""
    hidden: bool = False


BASE_COLUMNS = (
    Column("rank", "Rank", "Place by predicted accuracy; rows that cannot be separated share it", numeric=True),
    Column("model", "Model"),
    Column("predicted", "Predicted accuracy", "Executed on your samples, no labels seen; the bar is the 90 % interval", grade="predicted"),
    Column("pbest", "P(best)", "Probability of being the best of those that ran", numeric=True, grade="predicted"),
    Column("samples", "Samples", "Samples the prediction rests on", numeric=True),
    Column("state", "State"),
    Column("latency", "Latency", "Milliseconds per sample, measured when the version was published", numeric=True),
    Column("memory", "Memory", "Weights and activations of one sample", numeric=True),
    Column("evidence", "Evidence", sortable=False),
    Column("trend", "Trend", "The estimate over samples", sortable=False),
    Column("prior", "Prior place", "From behaviour signatures alone, nothing executed", numeric=True, grade="prior"),
    Column("licence", "Licence", hidden=True),
    Column("size", "File size", numeric=True, hidden=True),
)


@dataclass(frozen=True, slots=True)
class ScorerCell:
    """One scorer's word on one candidate. text: the value, "" when it cannot tell; why: the cause or a warning."""

    key: str
    text: str
    sort: str
    interval: str
    why: str


@dataclass(frozen=True, slots=True)
class RowView:
    """Percentages are 0..100. grade: prior until the candidate has run. rank: None without one. rank_range: its own places as text."""

    grade: Literal["prior", "predicted"]
    value: float | None
    low: float | None
    high: float | None
    rank: Rank | None
    rank_range: str
    p_best: str
    spark: str
    band: str
    spark_label: str
    scorers: tuple[ScorerCell, ...]
    cannot_tell: str
    retry: bool


def board_candidates(search: Search) -> QuerySet[Candidate]:
    """Candidates in the board's order with all that a row shows, in one query; the large columns of versions stay behind."""
    rows = search.candidates.taking(search.device).select_related("version__model__team").order_by("position", "pk")
    return rows.defer("version__program", "version__facts", "version__spec")


def scorer_columns(search: Search) -> tuple[Column, ...]:
    """One hidden column for each scorer of the search and of the prior order; whether it executed anything stands in its grade."""
    keys = [key for key, spec in SCORERS.items() if key in search.scorers or (spec.default and spec.cost == "signature")]
    return tuple(
        Column(f"s-{key}", SCORERS[key].label, SCORERS[key].help, numeric=True, grade=grade_of(SCORERS[key]), hidden=True) for key in keys
    )


def grade_of(spec: ScorerSpec) -> Literal["prior", "predicted"]:
    return "prior" if spec.cost == "signature" else "predicted"


def board_columns(search: Search) -> tuple[Column, ...]:
    named = f"Predicted {predicted_name(search)}"
    base = [replace(column, label=named) if column.key == "predicted" else column for column in BASE_COLUMNS]
    if search.device:
        told = dict.fromkeys(("latency", "memory"), f"Of one sample, predicted for {search.device}")
        base = [replace(column, help=told.get(column.key, column.help)) for column in base]
    return (*base, *scorer_columns(search))


def measured(candidate: Candidate) -> bool:
    """Whether a scorer has judged its predictions. Before that, what stands in the row is the prior's word, though samples may be done."""
    judged = any(key in SCORERS and SCORERS[key].cost == "forward" for key in candidate.scores)
    return judged and candidate.samples_done > 0 and candidate.state != CandidateState.FAILED


def row_view(candidate: Candidate, search: Search) -> RowView:
    """Everything the row partial needs beyond the row itself."""
    ran = measured(candidate)
    known = candidate.predicted is not None and ran
    rank = rank_of(candidate, search) if known else None
    return RowView(
        grade="predicted" if ran else "prior",
        value=_percent(candidate.predicted) if known else None,
        low=_percent(candidate.low) if known else None,
        high=_percent(candidate.high) if known else None,
        rank=rank,
        rank_range=f"{rank.low}–{rank.high}" if rank and rank.low != rank.high else "",
        p_best=probability(candidate.p_best) if known else "",
        spark=_spark(candidate.history),
        band=_band(candidate.history),
        spark_label=_spark_label(candidate.history),
        scorers=tuple(scorer_cell(candidate, column.key.removeprefix("s-")) for column in scorer_columns(search)),
        cannot_tell=candidate.why if ran and candidate.predicted is None else "",
        retry=candidate.state == CandidateState.FAILED and not search.is_live,
    )


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 2)


def probability(value: float | None) -> str:
    """In whole per cent; never 0 or 100, which would be a certainty that nobody has."""
    if value is None:
        return ""
    if value < 0.005:
        return "< 1 %"
    return "> 99 %" if value > 0.995 else f"{100 * value:.0f} %"


def rank_of(candidate: Candidate, search: Search) -> Rank | None:
    """The rank shown, None without one; one query per search object, whatever the number of rows."""
    known: Mapping[int, Rank] | None = getattr(search, "_shown_ranks", None)
    if known is None:
        known = shown_ranks(Candidate.objects.filter(search=search).only(*NEEDED))
        search._shown_ranks = known  # type: ignore[attr-defined]  # a cache for the rows rendered with this object
    return known.get(candidate.pk)


def scorer_cell(candidate: Candidate, key: str) -> ScorerCell:
    """The scorer's latest word: after the run from `scores`, before it from `prior_scores`."""
    told: Mapping[str, Any] = candidate.scores.get(key) or candidate.prior_scores.get(key) or {}
    value, low, high = told.get("value"), told.get("low"), told.get("high")
    share = SCORERS[key].scale == "accuracy"
    interval = f"{_figure(low, share)} to {_figure(high, share)}" if low is not None and high is not None else ""
    return ScorerCell(
        key, "" if value is None else _figure(value, share), "" if value is None else f"{value:.6f}", interval, told.get("why") or ""
    )


def _figure(value: float, share: bool) -> str:
    return f"{100 * value:.1f} %" if share else f"{value:.3f}"


def _steps(history: list[list[float | None]]) -> list[tuple[float, float, float | None, float | None]]:
    return [(float(n), float(v), low, high) for n, v, low, high in history if n is not None and v is not None]


def _scale(steps: list[tuple[float, float, float | None, float | None]]) -> tuple[float, float]:
    numbers = [number for step in steps for number in step[1:] if number is not None]
    low, high = min(numbers), max(numbers)
    return (low, high) if high - low > 0.05 else ((low + high) / 2 - 0.025, (low + high) / 2 + 0.025)


def _spark(history: list[list[float | None]]) -> str:
    """Points of the estimate in a box of 100 by 24; nothing before the second step, since one point is no trend."""
    steps = _steps(history)
    if len(steps) < 2:
        return ""
    low, high = _scale(steps)
    return " ".join(f"{_x(index, steps):.1f},{_y(step[1], low, high):.1f}" for index, step in enumerate(steps))


def _band(history: list[list[float | None]]) -> str:
    steps = _steps(history)
    if len(steps) < 2 or any(step[2] is None or step[3] is None for step in steps):
        return ""
    low, high = _scale(steps)
    upper = [f"{_x(i, steps):.1f},{_y(s[3] or 0.0, low, high):.1f}" for i, s in enumerate(steps)]
    lower = [f"{_x(i, steps):.1f},{_y(s[2] or 0.0, low, high):.1f}" for i, s in enumerate(steps)]
    return " ".join(upper + lower[::-1])


def _x(index: int, steps: list[tuple[float, float, float | None, float | None]]) -> float:
    return SPARK_WIDTH * index / (len(steps) - 1)


def _y(value: float, low: float, high: float) -> float:
    return SPARK_HEIGHT - 1 - (SPARK_HEIGHT - 2) * (value - low) / (high - low)


def _spark_label(history: list[list[float | None]]) -> str:
    steps = _steps(history)
    if len(steps) < 2:
        return ""
    return f"From {100 * steps[0][1]:.1f} % after {steps[0][0]:.0f} samples to {100 * steps[-1][1]:.1f} % after {steps[-1][0]:.0f}"
