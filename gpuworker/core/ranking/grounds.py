"""Whether labelled probes carry a recommendation for these samples, and if not, why and what would help."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpuworker.core.probes import Vicinity
from gpuworker.core.probes.calibration import Calibration
from gpuworker.core.scorers.anchor import Judged

FEWEST_EFFECTIVE = 10.0
BEYOND = 1.25  # of the largest distance at which predictions were checked
LABEL_20 = "Label 20 samples to check the leaders, or ask for probes from someone whose data look like yours."
RUN_PROBES = "Wait until the catalog has run them on the probes, or label 20 samples."


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why nobody is recommended although figures are shown, and the cheapest next step."""

    cause: str
    next_step: str


def doubt(vicinity: Vicinity, judged: Judged, calibration: Calibration) -> Doubt | None:
    """None where the probes reach these samples and these labels."""
    n_labels = judged.posterior.stack.shape[1]
    bare = n_labels - len(np.unique(vicinity.probes.labels))
    if 2 * bare > n_labels:
        return Doubt(f"{bare} of the {n_labels} labels have no labelled probe, so answers with them cannot be judged.", LABEL_20)
    if not judged.probed.any():
        return Doubt("None of the models has answered the labelled probes.", RUN_PROBES)
    if vicinity.effective_probes < FEWEST_EFFECTIVE:
        near = f"{vicinity.effective_probes:.0f} labelled probes lie among them."
        return Doubt(f"Nothing in the catalog looks like your samples: only {near}", LABEL_20)
    if vicinity.distance > BEYOND * calibration.farthest:
        return Doubt(
            f"Your samples lie {vicinity.distance / calibration.farthest:.1f} times as far from the labelled probes as any on which "
            "predictions have been checked.",
            LABEL_20,
        )
    return None
