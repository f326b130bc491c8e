"""Arrays of a signature that have one entry per label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

PER_LABEL = ("class_histogram.counts", "output_stats.class_counts", "accuracy.class_correct", "accuracy.class_n")


def in_label_order(signature: Mapping[str, NDArray[Any]], columns: Sequence[int]) -> dict[str, NDArray[Any]]:
    """The signature with its labels in another order: columns[k] is the place of the new label k in the stored arrays."""
    place = np.asarray(columns, dtype=np.intp)
    return {name: array[place] if name in PER_LABEL else array for name, array in signature.items()}
