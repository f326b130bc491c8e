"""What the bench runs: sets of models as teams have them, from heads retrained to nothing in common."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import nn

from bench.engine.contenders import Workload
from bench.engine.networks import Network, Perceptron, Recurrent, ResNet, Transformer, family

STEPS, IMAGE, ROW = (32, 64), (3, 32, 32), (64,)
ALL = ("",)


def _workload(name: str, networks: Sequence[Network], shape: Sequence[int], batch: int) -> Workload:
    source = torch.Generator().manual_seed(1)
    return Workload(name, networks, ["x"] * len(networks), {"x": torch.randn((batch, *shape), generator=source)})


def heads(batch: int, count: int = 16) -> Workload:
    return _workload(f"{count} transformers, heads differ", family(Transformer, STEPS, [("fc",)] * count), STEPS, batch)


def last_block(batch: int, count: int = 16) -> Workload:
    own = ("blocks.3", "n.", "fc")
    return _workload(f"{count} transformers, last block and head differ", family(Transformer, STEPS, [own] * count), STEPS, batch)


def transformers(batch: int, count: int = 32) -> Workload:
    return _workload(f"{count} transformers, everything differs", family(Transformer, STEPS, [ALL] * count), STEPS, batch)


def resnets(batch: int, count: int = 32) -> Workload:
    return _workload(f"{count} ResNet-20, everything differs", family(ResNet, IMAGE, [ALL] * count), IMAGE, batch)


def retrained(share: float, batch: int, count: int = 35) -> Workload:
    """Fine-tunes of one ResNet-20 in the manner of Alsatian's evaluation: each retrains a random number of its last layers, at most
    `share` of them; a share of 0 is the classifier and sometimes the block before it."""
    layers = ["conv1", "bn1", *(f"layer{stage}.{block}" for stage in (1, 2, 3) for block in (0, 1, 2)), "linear"]
    source = random.Random(3)  # noqa: S311 - a mix of models
    most = max(2, round(share * len(layers)))
    own = [layers[-source.randint(1, most) :] for _ in range(count)]
    label = f"{count} ResNet-20, top {share:.0%} retrained" if share else f"{count} ResNet-20, few layers retrained"
    return _workload(label, family(ResNet, IMAGE, own), IMAGE, batch)


ARCHITECTURES: Sequence[tuple[Callable[[], nn.Module], Sequence[int], Sequence[str]]] = (
    (partial(Perceptron, 256, 4), ROW, ("layers.3",)),
    (partial(Perceptron, 64, 3), ROW, ("layers.2",)),
    (partial(ResNet, 1, 8), (3, 16, 16), ("layer3", "linear")),
    (partial(ResNet, 1, 16), (3, 16, 16), ("layer3", "linear")),
    (partial(Transformer, 64, 4, 2, 16), (16, 64), ("blocks.1", "n.", "fc")),
    (partial(Recurrent, 32), (16, 64), ("fc",)),
)


def mixture(samples: int, count: int = 100) -> Workload:
    """Of 100 models 10 with a head of their own, 20 with their last part, 70 with everything, of six architectures."""
    networks: list[Network] = []
    inputs: list[str] = []
    feeds: dict[str, torch.Tensor] = {}
    source = torch.Generator().manual_seed(2)
    for place, (make, shape, last) in enumerate(ARCHITECTURES):
        share = len(range(place, count, len(ARCHITECTURES)))
        heads_, parts = round(share * 0.1), round(share * 0.2)
        own = [last[-1:]] * heads_ + [last] * parts + [ALL] * (share - heads_ - parts)
        name = "x".join(map(str, shape))
        feeds.setdefault(name, torch.randn((samples, *shape), generator=source))
        networks += family(make, shape, own, seed=place)
        inputs += [name] * share
    return Workload(f"{count} models of 6 architectures", networks, inputs, feeds)


BARS: Mapping[str, tuple[Callable[[], Workload], float]] = {
    "heads_b8": (partial(heads, 8), 8.0),
    "lastblock_b8": (partial(last_block, 8), 2.3),
    "resnet_full_b1": (partial(resnets, 1), 2.0),
    "transformer_full_b1": (partial(transformers, 1), 2.0),
    "top50": (partial(retrained, 0.5, 32), 2.0),
    "top25": (partial(retrained, 0.25, 32), 4.0),
    "few_layers": (partial(retrained, 0.0, 32), 8.0),
}
"""Figure > (workload, least speed-up over the eager loop)."""


def any_batch(batches: Sequence[int], count: int) -> list[Workload]:
    """Every kind of set at every batch size, each labelled with it."""
    found = []
    for make in (heads, last_block, transformers, resnets):
        for batch in batches:
            made = make(batch, count)
            made.name = f"{made.name}, batch {batch}"
            found.append(made)
    return found
