"""What one model of a zoo is trained on and how: drawn at random, so that models of one task differ in more than one way."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

import numpy as np

from gpuworker.core.protocols import SampleBatch
from gpuworker.zoo.tasks import Task

MODELS = 48
PAIR_SHARE = 0.28
Imbalance = Literal["none", "skewed", "dropped"]


@dataclass(frozen=True, slots=True)
class Design:
    """An architecture and what it reads. input: of an input spec, without mean and std. hidden: widths of the linear layers;
    convolutions: width of the first, 0 for none. half: a random half of the features is not looked at."""

    input: Mapping[str, Any]
    front: Literal["none", "edges", "spectrum"] = "none"
    hidden: tuple[int, ...] = ()
    convolutions: int = 0
    half: bool = False

    @property
    def name(self) -> str:
        if self.convolutions:
            return f"cnn{self.convolutions}"
        layers = f"mlp{self.hidden[0]}" if self.hidden else "linear"
        return "-".join([self.front] * (self.front != "none") + [layers] + ["half"] * self.half)


@dataclass(frozen=True, slots=True)
class Recipe:
    """domains: numbers of the task's domains. share: of their training rows. noise: share of training labels drawn at random.
    imbalance: classes kept with random shares, or a third of them dropped. seed: of everything random in the training."""

    domains: tuple[int, ...]
    design: Design
    share: float
    epochs: int
    weight_decay: float
    noise: float
    imbalance: Imbalance
    seed: int


def designs(task: Task, batch: SampleBatch) -> list[Design]:
    """The architectures for a task whose samples look like `batch`."""
    meta = batch.meta
    if task.modality == "image":
        side = {"height": min(32, meta["height"][1]), "width": min(32, meta["width"][1])}
        whole = {**side, "channels": max(meta["channels"])}
        small = {"height": 14, "width": 14, "channels": 1}
        return [
            Design(small),
            Design(small, hidden=(64,)),
            Design(small, hidden=(64,), half=True),
            Design(whole, "edges"),
            Design(whole, "edges", hidden=(64,)),
            Design(whole, convolutions=8),
            Design(whole, convolutions=12),
        ]
    if task.modality == "series":
        series = {"window": meta["window"], "channels": list(meta.get("channel_names") or [str(i) for i in range(meta["channels"])])}
        series |= {"rate_hz": meta["rate_hz"]} if meta.get("rate_hz") else {}
        return [
            Design(series, "spectrum"),
            Design(series, "spectrum", hidden=(64,)),
            Design(series, "spectrum", hidden=(256, 64)),
            Design(series, "spectrum", hidden=(64,), half=True),
            Design(series, convolutions=8),
            Design(series, convolutions=16),
        ]
    if task.modality == "text":
        words = {"kind": "hashed_ngrams", "features": 2048, "analyzer": "word", "weighting": "log"}
        letters = {"kind": "hashed_ngrams", "features": 2048, "analyzer": "char_wb", "ngrams": [2, 4], "weighting": "log"}
        return [
            Design(words),
            Design(words, hidden=(64,)),
            Design(words, half=True),
            Design(letters),
            Design(letters, hidden=(64,)),
            Design(letters, hidden=(64,), half=True),
        ]
    record = {"kind": "record_similarity", "features": 8}
    hashed = {"kind": "hashed_pair", "features": 256}
    return [
        Design(record),
        Design(record, hidden=(64,)),
        Design(record, hidden=(256, 64)),
        Design(record, half=True),
        Design(record, hidden=(64,), half=True),
        Design(hashed, hidden=(64,)),
    ]


def draw(task: Task, batch: SampleBatch, seed: int, count: int = MODELS) -> list[Recipe]:
    """`count` recipes: about three in four on a single domain, in turn, the others on two."""
    rng = np.random.default_rng([seed, int.from_bytes(blake2b(task.name.encode(), digest_size=4).digest())])
    chosen = designs(task, batch)
    n = len(task.domains)
    pairs = list(itertools.combinations(range(n), 2))
    singles = count if not pairs else max(n, round(count * (1 - PAIR_SHARE)))
    sources: list[tuple[int, ...]] = [(place % n,) for place in range(min(singles, count))]
    sources += [pairs[int(rng.integers(len(pairs)))] for _ in range(count - len(sources))]
    kinds: list[Imbalance] = ["none", "none", "skewed", "dropped"] if len(task.labels) > 2 else ["none", "none", "skewed"]
    return [
        Recipe(
            domains,
            chosen[int(rng.integers(len(chosen)))],
            share=float(rng.choice([0.15, 0.4, 1.0])),
            epochs=int(rng.choice([6, 20, 50])),
            weight_decay=float(rng.choice([0.0, 0.0, 0.01, 0.1])),
            noise=float(rng.choice([0.0, 0.0, 0.0, 0.2, 0.4])),
            imbalance=kinds[int(rng.integers(len(kinds)))],
            seed=int(rng.integers(2**31)),
        )
        for domains in sources
    ]
