"""When labels are enough, and what to say meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gpuworker.core.labelling.belief import Belief

ENOUGH = 0.9
LEAST_LABELS = 5
"""Before these the prior would speak alone, and nobody asked for labels to hear it again."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """enough: whether another label is worth the time. leader: its row. sure: probability that it is within a point of the best."""

    kind: Literal["begin", "go_on", "enough"]
    leader: int
    sure: float

    @property
    def enough(self) -> bool:
        return self.kind == "enough"


def verdict(belief: Belief) -> Verdict:
    leader = belief.leader
    sure = float(belief.near_best[leader])
    if belief.n < LEAST_LABELS:
        return Verdict("begin", leader, sure)
    return Verdict("enough" if sure > ENOUGH else "go_on", leader, sure)
