"""A few labels of the searcher's own samples: which sample to ask for next, what the answers say, and when they are enough.

NumPy alone, so that the web may ask it. Everything is a function of the contest and the list of labels: taking a label back is asking
again without it.
"""

from __future__ import annotations

from gpuworker.core.labelling.belief import LEVEL, WITHIN, Belief, believe
from gpuworker.core.labelling.contest import EXPERTS, Contest, Label, contest
from gpuworker.core.labelling.picking import Pick, chances, pick
from gpuworker.core.labelling.stopping import ENOUGH, Verdict, verdict
from gpuworker.core.labelling.thinning import by_lot, fair_chances

__all__ = [
    "ENOUGH",
    "EXPERTS",
    "LEVEL",
    "WITHIN",
    "Belief",
    "Contest",
    "Label",
    "Pick",
    "Verdict",
    "believe",
    "chances",
    "by_lot",
    "contest",
    "fair_chances",
    "pick",
    "verdict",
]
