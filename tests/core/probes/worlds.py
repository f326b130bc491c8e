"""A small world of domains, publishers, probes and models, whose true accuracies are known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gpuworker.core.protocols import CandidateView, ProbeView, TargetView


@dataclass(frozen=True)
class World:
    """Domain 0 is the searcher's; publisher d gave probes and models of domain d >= 1. truth: (n,) the target's labels."""

    target: TargetView
    candidates: list[CandidateView]
    truth: np.ndarray
    n_labels: int

    @property
    def accuracy(self):
        return np.array([(view.log_probs.argmax(1) == self.truth).mean() for view in self.candidates])

    def with_candidates(self, candidates):
        return replace(self, candidates=list(candidates))


def world(seed=0, *, models=12, samples=200, probes=300, labels=4, publishers=4, dims=12, balance=None, far=0.0):
    """balance: the target's label shares. far: how far the target lies from every other domain."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(0, 0.75, (labels, dims))
    shift = rng.normal(0, 0.5, (publishers + 1, 1, dims)) + rng.normal(0, 0.4, (publishers + 1, labels, dims))
    shift[0] += far * rng.normal(0, 1, dims)

    def draw(domain, count, shares=None):
        y = rng.choice(labels, count, p=shares)
        return (centers[y] + shift[domain][y] + rng.normal(size=(count, dims))).astype(np.float32), y

    features, truth = draw(0, samples, balance)
    slices = [draw(domain, probes // publishers) for domain in range(1, publishers + 1)]
    probe_view = ProbeView(
        np.concatenate([x for x, _ in slices]),
        np.concatenate([y for _, y in slices]),
        np.repeat(np.arange(1, publishers + 1), [len(y) for _, y in slices]),
    )
    candidates = []
    for index in range(models):
        domain = 1 + index % publishers
        x, y = draw(domain, int(rng.choice([30, 80, 300])))
        y = np.where(rng.random(len(y)) < rng.choice([0, 0, 0.3]), rng.integers(0, labels, len(y)), y)
        seen = rng.permutation(dims)[: int(rng.choice([dims // 3, dims // 2, dims]))]
        means = np.stack([x[y == label][:, seen].mean(0) if (y == label).any() else np.full(len(seen), 9.0) for label in range(labels)])
        sharp = rng.uniform(0.3, 2)

        def answer(rows, means=means, seen=seen, sharp=sharp):
            return log_softmax(-sharp / 2 * ((rows[:, None, seen] - means) ** 2).sum(2))

        candidates.append(CandidateView({}, answer(features), probe_log_probs=answer(probe_view.features), publishers=(domain,)))
    return World(TargetView(samples, {}, features, probe_view), candidates, truth, labels)


def log_softmax(logits):
    shifted = logits - logits.max(1, keepdims=True)
    return (shifted - np.log(np.exp(shifted).sum(1, keepdims=True))).astype(np.float32)


def constant(view, label, labels):
    """A view that answers `label` to everything, with near certainty."""
    row = np.log(np.where(np.arange(labels) == label, 1 - 1e-6, 1e-6 / (labels - 1))).astype(np.float32)
    return replace(view, log_probs=np.tile(row, (len(view.log_probs), 1)), probe_log_probs=np.tile(row, (len(view.probe_log_probs), 1)))
