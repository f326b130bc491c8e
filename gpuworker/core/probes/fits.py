"""What rests on labelled probes and the answers to them alone, whatever the samples are: all searches with these probes can share it."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.probes.algebra import F64
from gpuworker.core.probes.nearest import nearest
from gpuworker.core.probes.space import ProbeSpace, fit_space
from gpuworker.core.probes.stack import Stack, Tables, fit_stack
from gpuworker.core.protocols import ProbeView

MOST_STACKS = 8


class ProbeFits:
    """Of one choice of probes, each part computed when first asked for and then kept.

    The order of the label space is not part of it: searches may number the labels differently. Letters: R probes, d dimensions.
    """

    def __init__(self, probes: ProbeView, space: ProbeSpace | None = None) -> None:
        self._probes = probes
        self._space = space
        self._stacks: OrderedDict[bytes, Stack] = OrderedDict()

    @property
    def features(self) -> NDArray[np.float32]:
        """(R, D)"""
        return self._probes.features

    @cached_property
    def space(self) -> ProbeSpace:
        return self._space or fit_space(self._probes)

    @cached_property
    def points(self) -> F64:
        """(R, d)"""
        return self.space.points(self.features)

    @cached_property
    def cells(self) -> NDArray[np.int64]:
        """(R,)"""
        return self.space.cells(self.points)

    @cached_property
    def spacing(self) -> float:
        """Mean distance of the probes to the nearest of other publishers."""
        publishers = self._probes.publishers
        apart = publishers if len(np.unique(publishers)) > 1 else np.arange(len(publishers))
        return float(nearest(self.points, self.points, (apart, apart))[1].mean())

    def stack(self, labels: NDArray[np.int64], answers: Tables) -> Stack:
        """(R,) labels, M tables (R, C) of answers. The last few are kept, known again by what is in them."""
        key = _digest([labels, *answers])
        if key not in self._stacks:
            self._stacks[key] = fit_stack(self.points, labels, answers)
        self._stacks.move_to_end(key)
        while len(self._stacks) > MOST_STACKS:
            self._stacks.popitem(last=False)
        return self._stacks[key]


def _digest(arrays: Sequence[NDArray[Any]]) -> bytes:
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype.str}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.digest()
