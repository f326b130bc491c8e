"""The prior order: from behaviour signatures alone, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from gpuworker.core import specs
from gpuworker.core.protocols import Arrays, CandidateView, Estimate, TargetView
from gpuworker.core.scorers import FUNCTIONS

COUNTED = ("jsd_hist", "l2_center", "adaptivity_pairs")
TIE_BREAK = "source_accuracy"


@dataclass(frozen=True, slots=True)
class PriorScore:
    """A candidate's place before anything has run. Grade: prior; it orders, it does not predict accuracy.

    position: from 1; equal signatures share it. score: mean Borda share in [0, 1] over the scorers that could tell, or None.
    """

    position: int
    score: float | None
    estimates: Mapping[str, Estimate]
    why: str


def prior(target: TargetView, candidates: Sequence[CandidateView]) -> list[PriorScore]:
    """One place per candidate, same order out as in: Borda count of three distances, then self-reported accuracy.

    What is still equal goes by a digest of the signature, so that the order of the candidates never decides.
    """
    told = {key: FUNCTIONS[key](target, candidates) for key in (*COUNTED, TIE_BREAK)}
    ranks = {key: _ranks(key, told[key]) for key in COUNTED}
    scores = [_borda([ranks[key][index] for key in COUNTED], [_told(told[key]) for key in COUNTED]) for index in range(len(candidates))]
    keys = []
    for score, reported, view in zip(scores, told[TIE_BREAK], candidates, strict=True):
        keys.append((1.0 if score is None else -score, -(reported.value or 0.0), _digest(view.signature)))
    ordered = sorted(keys)
    return [
        PriorScore(
            ordered.index(keys[i]) + 1,
            scores[i],
            {key: estimates[i] for key, estimates in told.items()},
            _why({key: ranks[key][i] for key in COUNTED}, {key: _told(told[key]) for key in COUNTED}, told[TIE_BREAK][i]),
        )
        for i in range(len(candidates))
    ]


def _told(estimates: Sequence[Estimate]) -> int:
    return sum(estimate.value is not None for estimate in estimates)


def _ranks(key: str, estimates: Sequence[Estimate]) -> NDArray[np.float64]:
    """Average ranks from 1 = best among those that could tell; NaN elsewhere."""
    sign = -1.0 if specs.SCORERS[key].direction == "higher" else 1.0
    # Rounded, so that the last bit of a sum does not make an order.
    values = np.array([np.nan if e.value is None else sign * round(e.value, 9) for e in estimates])
    return np.asarray(rankdata(values, nan_policy="omit")) if len(values) else values


def _borda(ranks: Sequence[float], counts: Sequence[int]) -> float | None:
    """Mean share of the others that a candidate beats, over the scorers that could tell."""
    shares = [
        (count - rank) / max(count - 1, 1) if count > 1 else 0.5 for rank, count in zip(ranks, counts, strict=True) if np.isfinite(rank)
    ]
    return round(float(np.mean(shares)), 9) if shares else None


def _why(ranks: Mapping[str, float], counts: Mapping[str, int], reported: Estimate) -> str:
    parts = [f"{specs.SCORERS[key].label}: place {rank:g} of {counts[key]}" for key, rank in ranks.items() if np.isfinite(rank)]
    if not parts:
        return "Its behaviour signature has nothing to compare with your samples, so it stands last until it has run."
    tail = "" if reported.value is None else f" Equal places go by self-reported accuracy ({reported.value:.0%})."
    return f"{'; '.join(parts)}. Nothing has run yet.{tail}"


def _digest(signature: Arrays) -> bytes:
    digest = blake2b(digest_size=16)
    for name in sorted(signature):
        digest.update(name.encode() + str(signature[name].dtype).encode() + np.ascontiguousarray(signature[name]).tobytes())
    return digest.digest()
