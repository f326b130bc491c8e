"""Episodes: a catalog without names, a target without labels, and the truth, which only the harness holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.ranking.arrays import Pool, Scored
from gpuworker.core import signatures
from gpuworker.core.protocols import CandidateView, ProbeView, TargetView

PROBES = 1_000
SIZES = (25, 100, 250, 1_000)
MAIN_SIZE = 250
LEAST_ROWS = 60
LEAST_MODELS = 6

Mode = Literal["unseen", "seen"]
Kind = Literal["natural", "shifted"]


@dataclass(frozen=True, slots=True)
class About:
    """What the harness knows of an episode and no scorer is told. target: the domain's name; size: samples asked for; n: samples there are;
    models: numbers in the zoo, in the order of the candidates; rows: numbers of the samples among the domain's score rows; probes: among
    the pool's rows."""

    task: str
    seed: int
    target: str
    mode: Mode
    kind: Kind
    size: int
    n: int
    labels: tuple[str, ...]
    models: NDArray[np.int64]
    rows: NDArray[np.int64]
    probes: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Episode:
    """truth: (M,) accuracy. answers: (n,) the samples' true labels. Of pairs, f1: (M,) F1 of the second label (a match),
    and always: that of answering nothing else; None elsewhere."""

    target: TargetView
    candidates: list[CandidateView]
    truth: NDArray[np.float64]
    answers: NDArray[np.int64]
    about: About
    f1: NDArray[np.float64] | None = None
    always: float | None = None


def episodes(
    pool: Pool,
    scored: Sequence[Scored],
    seed: int,
    modes: Sequence[Mode] = ("unseen", "seen"),
    kinds: Sequence[Kind] = ("natural", "shifted"),
    sizes: Sequence[int] = (MAIN_SIZE,),
) -> Iterator[Episode]:
    """Every domain as target, in every mode, kind and size that it has rows for."""
    for target in scored:
        if len(target.labels) < LEAST_ROWS:
            continue
        # A domain of another folder is unseen as it is: there is nothing to hide.
        for mode in modes if target.number is not None else [mode for mode in modes if mode == "unseen"]:
            models, probes = catalog(pool, target, mode, seed)
            if len(models) < LEAST_MODELS or not len(probes):
                continue
            for kind in kinds:
                for size in sizes:
                    if size <= len(target.labels) or size == MAIN_SIZE:
                        yield _episode(pool, target, mode, kind, size, models, probes, seed)


def catalog(pool: Pool, target: Scored, mode: Mode, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the models and of the probe rows: all, or those that the target's domain never touched."""
    apart = target.number if mode == "unseen" else None
    models = [m for m, sources in enumerate(pool.sources) if apart is None or apart not in sources]
    open_rows = np.arange(len(pool.label)) if apart is None else np.flatnonzero(pool.domain != apart)
    rng = _rng("probes", pool.task, seed, None if apart is None else target.name)
    return np.array(models, np.int64), stratified(pool.domain[open_rows], pool.label[open_rows], PROBES, rng, open_rows)


def stratified(
    publishers: NDArray[np.int64], labels: NDArray[np.int64], most: int, rng: np.random.Generator, rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """At most `most` of `rows`: as even over the publishers as it goes, within each its classes in their own proportion."""
    turn = np.empty(len(rows))
    for publisher in np.unique(publishers):
        own = np.flatnonzero(publishers == publisher)
        order = rng.permutation(own)
        order = order[np.argsort(labels[order], kind="stable")]
        # Every k-th of the rows sorted by class, for all k at once: a van der Corput order of places.
        turn[order] = np.argsort(np.argsort(_spread_out(len(order)), kind="stable"), kind="stable")
    return np.sort(rows[np.argsort(turn, kind="stable")[:most]])


def _spread_out(n: int) -> NDArray[np.float64]:
    """Place i -> its radical inverse in base 2: the first k in this order are evenly spread, for every k."""
    places, result, unit = np.arange(n), np.zeros(n), 0.5
    while places.any():
        result += (places & 1) * unit
        places, unit = places >> 1, unit / 2
    return result


def _episode(
    pool: Pool, target: Scored, mode: Mode, kind: Kind, size: int, models: NDArray[np.int64], probes: NDArray[np.int64], seed: int
) -> Episode:
    rng = _rng("target", pool.task, seed, target.name, kind, size)
    every = np.arange(len(target.labels))
    rows = rng.permutation(every)[:size] if kind == "natural" else shifted_rows(target.labels, len(pool.labels), size, rng)
    order = _rng("order", pool.task, seed, target.name, mode, kind, size).permutation(models)
    # The truth of a natural target is that of the whole domain, of a shifted one that of the rows drawn.
    judged = every if kind == "natural" else rows
    given = target.log_probs[order][:, judged].argmax(2)
    view = target_view(pool, target, rows, probes)
    candidates = [candidate_view(pool, target, int(model), rows, probes) for model in order]
    about = About(pool.task, seed, target.name, mode, kind, size, len(rows), pool.labels, order, rows, probes)
    truth = (given == target.labels[judged]).mean(1)
    if pool.modality != "pair" or len(pool.labels) != 2:
        return Episode(view, candidates, truth, target.labels[rows], about)
    f1 = f1_scores(given, target.labels[judged])
    always = f1_scores(np.ones((1, len(judged)), np.int64), target.labels[judged])
    return Episode(view, candidates, truth, target.labels[rows], about, f1, float(always[0]))


def target_view(pool: Pool, target: Scored, rows: NDArray[np.int64], probes: NDArray[np.int64]) -> TargetView:
    signature = signatures.compute(
        pool.modality,
        values=None if target.values is None else target.values[rows],
        words=None if target.words is None else [target.words[row] for row in rows],
        features=target.features[rows],
    )
    view = ProbeView(pool.features[probes], pool.label[probes], pool.domain[probes])
    return TargetView(len(rows), signature, target.features[rows], view)


def candidate_view(pool: Pool, target: Scored, model: int, rows: NDArray[np.int64], probes: NDArray[np.int64]) -> CandidateView:
    return CandidateView(
        pool.signatures[model], target.log_probs[model][rows].astype(np.float32), pool.log_probs[model][probes], pool.sources[model]
    )


def shifted_rows(labels: NDArray[np.int64], n_labels: int, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows without repetition whose class shares follow a Dirichlet draw, as far as each class has rows."""
    weights = rng.dirichlet(np.full(n_labels, 0.5 if n_labels > 2 else 1.0))
    counts = np.bincount(labels, minlength=n_labels)
    size = min(size, len(labels) // 2)
    share = np.where(counts > 0, weights, 0)[labels] / np.maximum(counts, 1)[labels] + 1e-12
    return np.asarray(rng.choice(len(labels), size, replace=False, p=share / share.sum()), np.int64)


def f1_scores(answers: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(M, n) answers -> (M,) F1 of label 1; 0 where it is neither there nor answered."""
    hits = ((answers == 1) & (labels == 1)).sum(1)
    return np.asarray(2 * hits / np.maximum((answers == 1).sum(1) + (labels == 1).sum(), 1))


def _rng(*parts: Any) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest()))
