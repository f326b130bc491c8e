"""When a model is right on somebody else's probes more often than is plausible: it may have been trained on them."""

from __future__ import annotations

import math
from dataclasses import dataclass

LEAST_ROWS = 50
LEAST_PEERS = 3
DEVIATIONS = 3.0  # of the lower limit: chance alone passes it once in about 700 slices
ERRORS_LEFT = 0.5  # of the best peer's errors: fewer than this share is implausible


@dataclass(frozen=True, slots=True)
class Excess:
    """A model's accuracy on one slice beside what is plausible there. All in [0, 1]; low: the accuracy's lower limit."""

    accuracy: float
    low: float
    best_peer: float
    plausible: float


def excess(correct: int, judged: int, *, best_peer: float, peers: int) -> Excess | None:
    """How far a model is above its peers on a slice, or None when it is not, or when there is too little to tell.

    correct of judged rows were right. Peers are models that other people published, those of the slice's own giver among them:
    they know the domain. best_peer: the highest accuracy of theirs on the slice. Plausible is what makes half the errors of
    that one; the alarm is raised when even the lower limit of the accuracy (Wilson) lies above it.
    """
    if judged < LEAST_ROWS or peers < LEAST_PEERS:
        return None
    plausible = 1 - ERRORS_LEFT * (1 - best_peer)
    low = _lower_limit(correct, judged)
    return Excess(correct / judged, low, best_peer, plausible) if low > plausible else None


def _lower_limit(correct: int, n: int) -> float:
    share, z2 = correct / n, DEVIATIONS**2
    spread = DEVIATIONS * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return (share + z2 / (2 * n) - spread) / (1 + z2 / n)
