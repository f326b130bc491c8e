"""What orders candidates where no labelled probes exist: six weak opinions counted together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpuworker.core.probes import fit_space
from gpuworker.core.protocols import CandidateView, Estimate, ProbeView, TargetView
from gpuworker.core.scorers.borda import mean_share, places
from gpuworker.core.scorers.cot import cot
from gpuworker.core.scorers.dawid_skene import dawid_skene
from gpuworker.core.scorers.ensv import ensv
from gpuworker.core.scorers.infomax import infomax
from gpuworker.core.scorers.own_cells import own_cells
from gpuworker.core.scorers.sml import sml
from gpuworker.core.signatures.features import sketch_rows

LEAST_ROWS = 40
NOTHING = "Nothing places this model: it has not run on your samples, or its answers show no order."


def no_probe(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in [0, 1], higher is better: mean share of the others that a candidate beats, over the orders of Dawid-Skene, SML, EnsV,
    its own cells, InfoMax and COT that can place it. It orders and predicts nothing, and is weaker than anything that reads probes.
    """
    told = [scorer(target, candidates) for scorer in (dawid_skene, sml, ensv, infomax, cot)] + [_own_cells(target, candidates)]
    absent = [index for index, view in enumerate(candidates) if view.log_probs is None]
    ranks = [places([Estimate(None) if index in absent else e for index, e in enumerate(column)], "higher") for column in told]
    return [Estimate(share, why="" if share is not None else NOTHING) for share in mean_share(ranks)]


def _own_cells(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """In a codebook of all candidates' reference rows together."""
    nothing = [Estimate(None)] * len(candidates)
    ours = target.features if target.features is not None else sketch_rows(target.signature)
    if ours is None or not len(ours):
        return nothing
    sketches = [rows for view in candidates if (rows := sketch_rows(view.signature)) is not None and rows.shape[1] == ours.shape[1]]
    rows = np.concatenate(sketches) if sketches else ours[:0]
    n_labels = next((view.log_probs.shape[1] for view in candidates if view.log_probs is not None), 0)
    if len(rows) < LEAST_ROWS or not n_labels:
        return nothing
    everyone = np.zeros(len(rows), dtype=np.int64)
    space = fit_space(ProbeView(np.asarray(rows, np.float32), everyone, everyone))
    cells = np.bincount(space.cells(space.points(ours)), minlength=len(space.centers)) / len(ours)
    return [Estimate(own_cells(space, cells, view.signature, n_labels)) for view in candidates]
