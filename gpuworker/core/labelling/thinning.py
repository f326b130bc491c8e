"""Out of labelled samples that were drawn unevenly, a part that stands for all samples alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.labelling.picking import EVEN

F64 = NDArray[np.float64]


def fair_chances(weights: Sequence[float], places: Sequence[int], closed: int, samples: int) -> F64:
    """(k,) chances in (0, 1]: where each of k labelled samples stays with its own, no sample is likelier to be among them than another.

    weights: of the draws, as `Label.weight`. places: how many samples were closed (labelled or skipped) before each of them. closed:
    how many are now, of `samples`. A draw's weight makes up for its chance among the samples that were open then. Drawn samples do
    not come back, so what is drawn often runs dry: the nearer to all samples are labelled, the nearer all weights come to 1
    (Farquhar, Gal and Rainforth 2021, arXiv 2101.11665). The rarest possible draw stays surely, not the rarest of these few: else
    labels of disputed samples alone would all stay.
    """
    found = np.asarray(weights, np.float64)
    if not len(found) or np.allclose(found, 1):
        return np.ones(len(found))
    left = samples - 1 - np.array([*places, 0], np.float64)
    share = np.clip(np.divide(samples - closed, left, out=np.zeros_like(left), where=left > 0), 0.0, 1.0)
    fair = 1 + share[:-1] * (found - 1)
    rarest = 1 + share[-1] * (1 / EVEN - 1)
    return np.asarray(fair / max(rarest, fair.max()))


def by_lot(chances: F64, items: Sequence[int], seed: int) -> list[int]:
    """Places of the samples that stay. A sample's luck follows from seed and item alone, so that asking twice gives the same part."""
    luck = np.array([np.random.default_rng([seed, item]).random() for item in items])
    return [int(place) for place in np.flatnonzero(luck < chances)]
