"""Scorers: one pure function per file, listed by the keys of `specs.SCORERS`."""

from __future__ import annotations

from gpuworker.core.protocols import Scorer
from gpuworker.core.scorers.a_only import a_only
from gpuworker.core.scorers.adaptivity_pairs import adaptivity_pairs
from gpuworker.core.scorers.anchor import anchor
from gpuworker.core.scorers.atc import atc
from gpuworker.core.scorers.dawid_skene import dawid_skene
from gpuworker.core.scorers.jsd_hist import jsd_hist
from gpuworker.core.scorers.l2_center import l2_center
from gpuworker.core.scorers.probe_cells import probe_cells
from gpuworker.core.scorers.probe_importance import probe_importance
from gpuworker.core.scorers.probe_neighbours import probe_neighbours
from gpuworker.core.scorers.source_accuracy import source_accuracy

FUNCTIONS: dict[str, Scorer] = {
    "anchor": anchor,
    "a_only": a_only,
    "probe_cells": probe_cells,
    "probe_neighbours": probe_neighbours,
    "probe_importance": probe_importance,
    "jsd_hist": jsd_hist,
    "l2_center": l2_center,
    "adaptivity_pairs": adaptivity_pairs,
    "source_accuracy": source_accuracy,
    "atc": atc,
    "dawid_skene": dawid_skene,
}
