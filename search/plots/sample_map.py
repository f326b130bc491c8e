"""A map of the samples beside a model's reference sample, from the feature sketches of their two behaviour signatures.

Across: to which set a point leans, by the discriminant that the measured distance counts. Each point is judged by the others only, so
two sets drawn alike overlap however many features there are; axes fitted to tell the sets apart would part them by chance alone.
Upwards: the direction in which both sets vary most about their own means, which knows nothing of who belongs to which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.separability import leanings, separability
from search.plots.svg import Mark, Plot, Scale, percent

WIDTH, HEIGHT = 448, 300
LEFT, RIGHT, TOP, BOTTOM = 16, 16, 12, 36
KEY, TITLE = "map", "Map of your samples and the reference sample"
FEWEST = 2
FAR = 5.0  # standard deviations beyond which a feature counts no more
CHANCE = 2  # place of the .95 quantile in "features.self_separability"
SIDES = ("far on the reference's side", "on the reference's side", "on your samples' side", "far on your samples' side")

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SampleMap:
    """reference, samples: (N, 2) float, lean and height, nearly all in [-1, 1]. distance in [0, 1].

    chance: the distance that 95 of 100 random halves of the reference sample stay below, None where it is too small to say.
    """

    reference: F32
    samples: F32
    distance: float
    chance: float | None


def sample_map(own: Mapping[str, NDArray[Any]], theirs: Mapping[str, NDArray[Any]]) -> SampleMap | str:
    """From the arrays of the sample set's signature and of the model's; the cause in words where there can be no map."""
    ours, reference = own.get("features.sketch"), theirs.get("features.sketch")
    if ours is None or len(ours) < FEWEST:
        return "Your samples have no probe features: there are too few of them, or none of their kind can be compared."
    if reference is None or len(reference) < FEWEST:
        return "The model's behaviour signature has no probe features: it was published without a reference sample."
    if ours.shape[1:] != reference.shape[1:]:
        return "The features of the reference sample are of another kind than those of your samples."
    a, b = reference.astype(np.float32), ours.astype(np.float32)
    lean, height = leanings(a, b), heights(a, b)
    known = theirs.get("features.self_separability")
    return SampleMap(
        *_placed(lean, height),
        separability(a, b),
        None if known is None else float(known[CHANCE]),
    )


def _placed(lean: tuple[F32, F32], height: tuple[F32, F32]) -> tuple[F32, F32]:
    """Both axes in units of what 98 in 100 points stay below."""
    units = [float(np.quantile(np.abs(np.concatenate(axis)), 0.98)) or 1.0 for axis in (lean, height)]
    first, second = (np.stack([across / units[0], up / units[1]], axis=1) for across, up in zip(lean, height, strict=True))
    return first, second


def heights(a: F32, b: F32) -> tuple[F32, F32]:
    """(N_a,) and (N_b,): place along the first principal direction of both sets about their own means, 0 in the middle of all."""
    rows = np.concatenate([a, b])
    z = np.clip((rows - rows.mean(0)) / (rows.std(0) + 1e-6), -FAR, FAR)
    inner = np.concatenate([z[: len(a)] - z[: len(a)].mean(0), z[len(a) :] - z[len(a) :].mean(0)])
    # Through the (N, N) products of rows: there are often fewer rows than features.
    values, vectors = np.linalg.eigh((inner @ inner.T).astype(np.float64))
    direction = inner.T @ vectors[:, -1].astype(np.float32)
    direction *= np.sign(direction[np.abs(direction).argmax()]) or 1.0  # either sign is right; one is chosen
    placed = z @ direction
    return placed[: len(a)], placed[len(a) :]


def map_plot(found: SampleMap | str) -> Plot:
    """Squares are samples, rings are reference points; without a map the plot says why."""
    if isinstance(found, str):
        return Plot(KEY, TITLE, "Where your samples lie in feature space.", WIDTH, HEIGHT, (), (), (), note=found)
    x, y = Scale(-1.1, 1.1, LEFT, WIDTH - RIGHT), Scale(-1.1, 1.1, HEIGHT - BOTTOM, TOP)
    middle, floor = x(0), HEIGHT - BOTTOM
    marks = [
        Mark("rect", "frame", LEFT - 6, TOP - 6, WIDTH - LEFT - RIGHT + 12, floor - TOP + 12),
        Mark("line", "ax middle", middle, TOP - 6, middle, floor + 6),
        *(Mark("dot", "point reference", x(float(row[0])), y(float(row[1])), 3.5) for row in found.reference),
        *(Mark("rect", "point", x(float(row[0])) - 2.5, y(float(row[1])) - 2.5, 5, 5) for row in found.samples),
        Mark("text", "tick", middle - 8, floor + 22, label="← like the reference", anchor="end"),
        Mark("text", "tick", middle + 8, floor + 22, label="like your samples →"),
    ]
    return Plot(
        KEY,
        TITLE,
        f"{told(found)} Across: which set a point is like, judged by the others. Upwards: how both vary most.",
        WIDTH,
        HEIGHT,
        tuple(marks),
        ("Place across", "Your samples", "Reference sample"),
        tuple(zip(SIDES, shares(found.samples), shares(found.reference), strict=True)),
        legend=(("point", "your samples"), ("point reference", "reference sample")),
        note=f"{len(found.samples)} of your samples and {len(found.reference)} of the reference, as their signatures keep them. "
        "Points beyond the frame stand on its edge.",
    )


def told(found: SampleMap) -> str:
    """Whether the two sets differ, the measured distance, and what chance alone gives."""
    if found.chance is None:
        return f"Distance {found.distance:.2f} of 1; the reference sample is too small to say what chance alone gives."
    measured = f"distance {found.distance:.2f} of 1, where two halves of the reference alone differ by up to {found.chance:.2f}."
    if found.distance <= found.chance:
        return f"Your samples cannot be told from the reference sample: {measured}"
    return f"Your samples differ from the reference sample: {measured}"


def shares(points: F32) -> tuple[str, ...]:
    """Shares of a set in the quarters of the axis across; a point in the middle counts to the right."""
    places = np.digitize(points[:, 0], [-0.5, 0.0, 0.5])
    return tuple(percent(float((places == quarter).mean())) for quarter in range(4))
