"""The prior order: from behaviour signatures and answers to labelled probes, before anything runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuworker.core import specs
from gpuworker.core.probes import Vicinity, settle
from gpuworker.core.protocols import Arrays, CandidateView, Estimate, TargetView
from gpuworker.core.scorers import FUNCTIONS
from gpuworker.core.scorers.borda import mean_share, places

PROBED = "a_only"
COUNTED = ("jsd_hist", "l2_center", "adaptivity_pairs")
TIE_BREAK = "source_accuracy"


@dataclass(frozen=True, slots=True)
class PriorScore:
    """A candidate's place before anything has run. Grade: prior; it orders, it does not predict accuracy.

    position: from 1; equal signatures share it. score in [0, 1]: competence on the labelled probes where anybody has answered them, else
    mean Borda share over the distances that could tell; None where nothing could. method: key of the scorer, "borda" or "".
    """

    position: int
    score: float | None
    estimates: Mapping[str, Estimate]
    why: str
    method: str = ""


def prior(target: TargetView, candidates: Sequence[CandidateView]) -> list[PriorScore]:
    """One place per candidate, same order out as in.

    With labelled probes: by `a_only`; a candidate that has not answered them stands no higher than the middle of those that have.
    Else: Borda count of three distances, then self-reported accuracy. What is still equal goes by a digest of the signature, so that
    the order of the candidates never decides.
    """
    target = settle(target)
    told = {key: FUNCTIONS[key](target, candidates) for key in (PROBED, *COUNTED, TIE_BREAK)}
    ranks = {key: places(told[key], specs.SCORERS[key].direction) for key in COUNTED}
    shares = mean_share(list(ranks.values()))
    anybody = any(view.probe_log_probs is not None for view in candidates) and any(e.value is not None for e in told[PROBED])
    scores = [None if e.value is None else round(e.value, 9) for e in told[PROBED]] if anybody else shares
    standings = []
    for index in range(len(candidates)):
        first, second = scores[index], shares[index]
        reported = told[TIE_BREAK][index].value or 0.0
        standings.append((1.0 if first is None else -first, 1.0 if second is None else -second, -reported))
    alike = Counter(standings)
    keys = [(*key, _digest(view.signature) if alike[key] > 1 else b"") for key, view in zip(standings, candidates, strict=True)]
    ordered = {key: place for place, key in reversed(list(enumerate(sorted(keys), start=1)))}
    found = []
    for index, key in enumerate(keys):
        estimates = {name: column[index] for name, column in told.items()}
        if anybody and estimates[PROBED].value is not None:
            method, why = PROBED, _why_probed(estimates[PROBED])
        else:
            method = "" if scores[index] is None else "borda"
            why = _why(
                {name: float(ranks[name][index]) for name in COUNTED}, {name: _told(told[name]) for name in COUNTED}, estimates[TIE_BREAK]
            )
        found.append(PriorScore(ordered[key], scores[index], estimates, why, method))
    return found


def prior_scores(vicinity: Vicinity, competence: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """(M, K) stored competences (`probes.competence`) -> (M,) the score of `a_only`, for catalogs too large to read every answer.

    One matrix-vector product, for the shortlist of a large catalog: A1 exactly, A2 with each probe at the competence of its cell.
    100,000 models with 256 cells: 102 MB as float32.
    """
    near = np.bincount(vicinity.probe_cells, vicinity.neighbour_weights, len(vicinity.histogram))
    return np.asarray(competence @ ((vicinity.histogram + near) / 2).astype(np.float32))


def _told(estimates: Sequence[Estimate]) -> int:
    return sum(estimate.value is not None for estimate in estimates)


def _why_probed(estimate: Estimate) -> str:
    return estimate.why or f"Answers {estimate.value:.0%} of the labelled probes that are like your samples rightly. Nothing has run yet."


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
