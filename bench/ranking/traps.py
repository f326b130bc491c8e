"""What a catalog may hold that must not decide a search: transformations of an episode's arrays.

Only what a publisher or an operator could bring about is changed; the truth follows where a model's answers change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from bench.ranking.arrays import Pool, Scored
from bench.ranking.episodes import Episode
from gpuworker.core import signatures
from gpuworker.core.protocols import CandidateView, ProbeView
from gpuworker.core.signatures.features import features as feature_parts
from gpuworker.core.signatures.inputs import SignatureInput

CLONES = 25
STRANGERS = 5
SCALE = 8.0
WRONG_LABELS = 0.3
FEW_PROBES = 100

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """An episode with what its arrays were made of. whole: log-probabilities of a candidate on all score rows of the target's domain."""

    episode: Episode
    pool: Pool
    scored: Scored
    rng: np.random.Generator

    @property
    def n_labels(self) -> int:
        return len(self.pool.labels)

    def model(self, place: int) -> int:
        """Number in the pool of the candidate at a place."""
        return int(self.episode.about.models[place])

    def reference(self, place: int) -> F32:
        """A candidate's log-probabilities on its own reference sample."""
        model = self.model(place)
        return self.pool.log_probs[model][self.pool.references[model]].astype(np.float32)

    def signature(self, place: int, log_probs: F32, labels: NDArray[np.int64] | None = None) -> dict[str, NDArray[Any]]:
        """Its signature with every part that reads labels or outputs made anew; labels: other ones than the true ones."""
        rows = self.pool.references[self.model(place)]
        made = signatures.compute(
            self.pool.modality,
            features=self.pool.features[rows],
            labels=self.pool.label[rows] if labels is None else labels,
            n_labels=self.n_labels,
            log_probs=log_probs,
        )
        return {**self.episode.candidates[place].signature, **made}


def trapped(name: str, episode: Episode, pool: Pool, scored: Scored) -> Episode:
    """The episode with the trap set, the same every time. Raises KeyError for an unknown name."""
    return replace(TRAPS[name](Scene(episode, pool, scored, np.random.default_rng(7))), f1=None, always=None)


def _clones(scene: Scene) -> Episode:
    """25 near copies of a model somewhat above the middle."""
    episode = scene.episode
    place = int(np.argsort(episode.truth)[int(0.55 * len(episode.truth))])
    view = episode.candidates[place]
    copies = []
    for _ in range(CLONES):
        log_probs, probe_log_probs = (_noisy(table, scene.rng) for table in (view.log_probs, view.probe_log_probs))
        copies.append(replace(view, log_probs=log_probs, probe_log_probs=probe_log_probs))
    return _with(episode, copies, np.full(CLONES, episode.truth[place]))


def _noisy(table: NDArray[Any] | None, rng: np.random.Generator) -> F32:
    assert table is not None
    rows = np.asarray(table, np.float32)
    return _renormalised(rows + rng.normal(0, 0.15 * rows.std(), rows.shape))


def _overconfident(scene: Scene) -> Episode:
    """A third of the models, the worst, eight times as sure of everything."""
    return _changed(scene, _worst(scene, 3), lambda rows: _renormalised(rows * SCALE))


def _strangers(scene: Scene) -> Episode:
    """Five models that give one label always and five that give any, all of them certain."""
    episode, c = scene.episode, scene.n_labels
    added, truth = [], []
    for number in range(2 * STRANGERS):
        label = int(scene.rng.integers(c)) if number < STRANGERS else None
        view = _rewritten(scene, 0, lambda rows, fixed=label: _certain(len(rows), c, fixed, scene.rng))
        assert view.log_probs is not None
        added.append(view)
        judged = scene.scored.labels if episode.about.kind == "natural" else episode.answers
        truth.append(1 / c if label is None else float((judged == label).mean()))
    return _with(episode, added, np.array(truth))


def _certain(rows: int, labels: int, fixed: int | None, rng: np.random.Generator) -> F32:
    answers = rng.integers(0, labels, rows) if fixed is None else np.full(rows, fixed)
    return _renormalised(20.0 * np.eye(labels)[answers])


def _permuted(scene: Scene) -> Episode:
    """A fifth of the models have their labels in the wrong order."""
    episode = scene.episode
    truth = episode.truth.copy()
    candidates = list(episode.candidates)
    judged = np.arange(len(scene.scored.labels)) if episode.about.kind == "natural" else episode.about.rows
    for place in scene.rng.permutation(len(candidates))[: max(2, len(candidates) // 5)].tolist():
        order = np.roll(np.arange(scene.n_labels), 1) if scene.n_labels == 2 else _derangement(scene.n_labels, scene.rng)
        candidates[place] = _rewritten(scene, place, lambda rows, columns=order: np.asarray(rows[:, columns], np.float32))
        answers = scene.scored.log_probs[scene.model(place)][judged][:, order].argmax(1)
        truth[place] = (answers == scene.scored.labels[judged]).mean()
    return replace(episode, candidates=candidates, truth=truth)


def _derangement(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    order = rng.permutation(n)
    return np.asarray(np.roll(order, 1)[np.argsort(order)], np.int64)


def _forged(scene: Scene) -> Episode:
    """A sixth of the publishers, of the worst models, label their reference sample with their own model's answers."""
    candidates = list(scene.episode.candidates)
    for place in _worst(scene, 6):
        own = scene.reference(place)
        candidates[place] = replace(candidates[place], signature=scene.signature(place, own, own.argmax(1)))
    return replace(scene.episode, candidates=candidates)


def _wrong_probes(scene: Scene) -> Episode:
    """Three in ten probe labels are drawn at random."""
    probes = _probes(scene)
    flipped = scene.rng.random(len(probes.labels)) < WRONG_LABELS
    labels = np.where(flipped, scene.rng.integers(0, scene.n_labels, len(probes.labels)), probes.labels)
    return _with_probes(scene.episode, replace(probes, labels=labels))


def _useless_encoder(scene: Scene) -> Episode:
    """Probe features that carry nothing, everywhere they are used."""
    target, probes = scene.episode.target, _probes(scene)

    def noise(rows: int) -> F32:
        return scene.rng.normal(size=(rows, scene.pool.features.shape[1])).astype(np.float32)

    def signed(signature: Mapping[str, NDArray[Any]], rows: int) -> dict[str, NDArray[Any]]:
        parts = feature_parts(SignatureInput(scene.pool.modality, features=noise(rows)))
        kept = {key: array for key, array in signature.items() if not key.startswith("features.")}
        right = {key: array for key, array in signature.items() if key == "features.sketch_right"}
        return {**kept, **{f"features.{key}": array for key, array in parts.items()}, **right}

    candidates = [
        replace(view, signature=signed(view.signature, len(scene.reference(place)))) for place, view in enumerate(scene.episode.candidates)
    ]
    blind = replace(
        target,
        signature=signed(target.signature, target.n),
        features=noise(target.n),
        probes=replace(probes, features=noise(len(probes.labels))),
    )
    return replace(scene.episode, target=blind, candidates=candidates)


def _few_probes(scene: Scene) -> Episode:
    """A hundred labelled probes."""
    probes = _probes(scene)
    rows = np.sort(scene.rng.permutation(len(probes.labels))[:FEW_PROBES])
    few = ProbeView(probes.features[rows], probes.labels[rows], probes.publishers[rows])
    candidates = [
        replace(view, probe_log_probs=None if view.probe_log_probs is None else view.probe_log_probs[rows])
        for view in scene.episode.candidates
    ]
    return _with_probes(replace(scene.episode, candidates=candidates), few)


TRAPS: dict[str, Callable[[Scene], Episode]] = {
    "clones": _clones,
    "overconfident": _overconfident,
    "strangers": _strangers,
    "permuted_labels": _permuted,
    "forged_references": _forged,
    "wrong_probe_labels": _wrong_probes,
    "useless_encoder": _useless_encoder,
    "few_probes": _few_probes,
}


def _worst(scene: Scene, part: int) -> list[int]:
    truth = scene.episode.truth
    return [int(place) for place in np.argsort(truth)[: max(2, len(truth) // part)]]


def _with(episode: Episode, added: list[CandidateView], truth: NDArray[np.float64]) -> Episode:
    return replace(episode, candidates=[*episode.candidates, *added], truth=np.concatenate([episode.truth, truth]))


def _probes(scene: Scene) -> ProbeView:
    assert scene.episode.target.probes is not None
    return scene.episode.target.probes


def _with_probes(episode: Episode, probes: ProbeView) -> Episode:
    return replace(episode, target=replace(episode.target, probes=probes))


def _changed(scene: Scene, places: list[int], change: Callable[[F32], F32]) -> Episode:
    candidates = list(scene.episode.candidates)
    for place in places:
        candidates[place] = _rewritten(scene, place, change)
    return replace(scene.episode, candidates=candidates)


def _rewritten(scene: Scene, place: int, change: Callable[[F32], F32]) -> CandidateView:
    """The candidate with all its answers changed alike: on the samples, the probes and its own reference sample."""
    view = scene.episode.candidates[place]
    assert view.log_probs is not None and view.probe_log_probs is not None
    return replace(
        view,
        log_probs=change(view.log_probs),
        probe_log_probs=change(np.asarray(view.probe_log_probs, np.float32)),
        signature=scene.signature(place, change(scene.reference(place))),
    )


def _renormalised(rows: NDArray[Any]) -> F32:
    return np.asarray(log_softmax(rows, axis=1), np.float32)
