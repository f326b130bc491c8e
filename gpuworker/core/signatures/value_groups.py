"""Histograms of groups of rows, for the adaptivity measure."""

from __future__ import annotations

import numpy as np

from gpuworker.core.signatures.clusters import clusters
from gpuworker.core.signatures.divergence import histogram
from gpuworker.core.signatures.inputs import Parts, SignatureInput, array_order, groups

GROUP_ROWS = 50
MAX_GROUPS = 32


def value_groups(given: SignatureInput) -> Parts:
    """counts: (G, 100) int64, one histogram for each group of 50 shuffled rows, each normalised alone; at most 32 groups.

    The shuffle follows the rows' content, so the same set in another order gives the same groups.

    cluster_counts: (P, 100) int64, the same for the clusters of rows in the probe features, where there are any.
    """
    values = given.values
    if values is None or not values.size:
        return {}
    cut = groups(array_order(values), GROUP_ROWS, MAX_GROUPS)
    parts: Parts = {"counts": np.stack([histogram(values[rows]) for rows in cut])}
    if given.features is not None:
        parts["cluster_counts"] = np.stack([histogram(values[rows]) for rows in clusters(given.features)])
    return parts
