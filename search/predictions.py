"""What candidates answered, read back from the stored chunks: labels, confidences, agreement and disagreement.

Shapes: M candidates, n samples, C labels in the order of `Search.labels`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.models import Candidate, CandidateState, PredictionChunk, Search

LEADERS = 30
UNSEEN = -1


@dataclass(frozen=True, slots=True)
class Answers:
    """labels: (M, n) int16, -1 where a candidate has not seen the sample. confidence: (M, n) float32 in [0, 1], 0 there."""

    candidates: tuple[Candidate, ...]
    labels: NDArray[np.int16]
    confidence: NDArray[np.float32]

    @property
    def n(self) -> int:
        return int(self.labels.shape[1])


@dataclass(frozen=True, slots=True)
class Disputed:
    """One sample and how the candidates split over it; `votes` is (label index, candidates), the most frequent first."""

    index: int
    share: float
    votes: tuple[tuple[int, tuple[int, ...]], ...]


def leaders(search: Search, limit: int = LEADERS) -> list[Candidate]:
    """The first candidates of the board that have predictions, best first."""
    rows = search.candidates.exclude(state=CandidateState.FAILED).filter(samples_done__gt=0)
    return list(rows.select_related("version__model__team").defer("version__program", "version__facts").order_by("position", "pk")[:limit])


def answers_of(search: Search, candidates: Sequence[Candidate]) -> Answers:
    """Read the chunks of these candidates; a chunk whose size does not fit the label space is skipped."""
    width, n = len(search.labels), max((row.samples_done for row in candidates), default=0)
    place = {row.pk: index for index, row in enumerate(candidates)}
    labels = np.full((len(candidates), n), UNSEEN, np.int16)
    confidence = np.zeros((len(candidates), n), np.float32)
    chunks = PredictionChunk.objects.filter(candidate__in=list(place), start__lt=n).order_by("pk")
    for owner, start, stop, raw in chunks.values_list("candidate_id", "start", "stop", "log_probs").iterator(chunk_size=50):
        rows = log_probs_from(bytes(raw), width)
        if rows is None or len(rows) != stop - start:
            continue
        keep = min(stop, n) - start
        best = rows[:keep].argmax(1)
        labels[place[owner], start : start + keep] = best
        confidence[place[owner], start : start + keep] = np.exp(rows[np.arange(keep), best].astype(np.float32))
    return Answers(tuple(candidates), labels, np.clip(confidence, 0, 1))


def log_probs_from(raw: bytes, width: int) -> NDArray[np.float16] | None:
    """(rows, width) float16 little-endian, or None when the bytes do not fill whole rows."""
    values = np.frombuffer(raw[: len(raw) - len(raw) % 2], np.dtype("<f2"))
    if width < 1 or values.size % width:
        return None
    return values.reshape(-1, width)


def agreement(answers: Answers) -> NDArray[np.float64]:
    """(M, M): share of samples both have seen on which they give the same label; NaN where they share none."""
    count = len(answers.candidates)
    result = np.full((count, count), np.nan)
    for i in range(count):
        both = (answers.labels[i] != UNSEEN) & (answers.labels != UNSEEN)
        same = (answers.labels[i] == answers.labels) & both
        seen = both.sum(1)
        result[i] = np.divide(same.sum(1), seen, out=np.full(count, np.nan), where=seen > 0)
    return result


def disputed_order(answers: Answers) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Samples by disagreement, the most disputed first: indexes (n,), and per sample the share outside the majority.

    Among equally disputed samples those come first on which the candidates are surest, since there somebody errs with confidence.
    """
    if not answers.n or not len(answers.candidates):
        return np.zeros(0, np.int64), np.zeros(0)
    classes = int(answers.labels.max()) + 1
    seen = (answers.labels != UNSEEN).sum(0)
    most = np.zeros(answers.n, np.int64)
    for label in range(max(classes, 0)):
        most = np.maximum(most, (answers.labels == label).sum(0))
    share = np.where(seen > 0, 1.0 - most / np.maximum(seen, 1), 0.0)
    sure = answers.confidence.sum(0) / np.maximum(seen, 1)
    return np.lexsort((np.arange(answers.n), -sure, -share)), share


def disputed(answers: Answers, index: int, share: float) -> Disputed:
    """The votes on one sample, grouped by label."""
    groups: dict[int, list[int]] = {}
    for place, label in enumerate(answers.labels[:, index].tolist()):
        if label != UNSEEN:
            groups.setdefault(label, []).append(place)
    votes = sorted(groups.items(), key=lambda item: (-len(item[1]), min(item[1])))
    return Disputed(index, share, tuple((label, tuple(places)) for label, places in votes))


def against_majority(answers: Answers, place: int) -> NDArray[np.int64]:
    """Samples on which candidate `place` disagrees with the plurality of the others, surest first."""
    others = np.delete(answers.labels, place, axis=0)
    own = answers.labels[place]
    if not len(others) or not answers.n:
        return np.zeros(0, np.int64)
    counts = np.stack([(others == label).sum(0) for label in range(int(answers.labels.max()) + 1)]) if answers.labels.max() >= 0 else None
    if counts is None:
        return np.zeros(0, np.int64)
    alone = (own != UNSEEN) & (counts.max(0) > 0) & (counts[np.maximum(own, 0), np.arange(answers.n)] < counts.max(0))
    found = np.flatnonzero(alone)
    return found[np.lexsort((found, -answers.confidence[place, found]))]
