"""Labelled probes: the space they span, what they say about the samples of a search, and how the candidates answered them."""

from __future__ import annotations

from gpuworker.core.probes.fits import ProbeFits
from gpuworker.core.probes.panel import Panel, Posterior, panel_of
from gpuworker.core.probes.space import ProbeSpace, competence, fit_space
from gpuworker.core.probes.vicinity import Vicinity, settle, vicinity_of

__all__ = ["Panel", "Posterior", "ProbeFits", "ProbeSpace", "Vicinity", "competence", "fit_space", "panel_of", "settle", "vicinity_of"]
