"""Scorers: one pure function per file, listed by the keys of `specs.SCORERS`."""

from __future__ import annotations

from gpuworker.core.protocols import Scorer
from gpuworker.core.scorers.a_only import a_only
from gpuworker.core.scorers.adaptivity_coverage import adaptivity_coverage
from gpuworker.core.scorers.adaptivity_pairs import adaptivity_pairs
from gpuworker.core.scorers.aline import aline
from gpuworker.core.scorers.anchor import anchor
from gpuworker.core.scorers.atc import atc
from gpuworker.core.scorers.average_confidence import average_confidence
from gpuworker.core.scorers.calibrated_confidence import calibrated_confidence
from gpuworker.core.scorers.cot import cot
from gpuworker.core.scorers.dawid_skene import dawid_skene
from gpuworker.core.scorers.dispersion import dispersion
from gpuworker.core.scorers.doc import doc
from gpuworker.core.scorers.ensv import ensv
from gpuworker.core.scorers.entropy import entropy
from gpuworker.core.scorers.fid import fid
from gpuworker.core.scorers.hellinger_sq import hellinger_sq
from gpuworker.core.scorers.infomax import infomax
from gpuworker.core.scorers.jsd_hist import jsd_hist
from gpuworker.core.scorers.l2_center import l2_center
from gpuworker.core.scorers.label_shift_accuracy import label_shift_accuracy
from gpuworker.core.scorers.lsh_jsd import lsh_jsd
from gpuworker.core.scorers.majority_vote import majority_vote
from gpuworker.core.scorers.mano import mano
from gpuworker.core.scorers.minhash_jaccard import minhash_jaccard
from gpuworker.core.scorers.mmd import mmd
from gpuworker.core.scorers.no_probe import no_probe
from gpuworker.core.scorers.nuclear_norm import nuclear_norm
from gpuworker.core.scorers.probe_cells import probe_cells
from gpuworker.core.scorers.probe_importance import probe_importance
from gpuworker.core.scorers.probe_neighbours import probe_neighbours
from gpuworker.core.scorers.sml import sml
from gpuworker.core.scorers.source_accuracy import source_accuracy
from gpuworker.core.scorers.word_adaptivity import word_adaptivity
from gpuworker.core.scorers.word_jsd import word_jsd
from gpuworker.core.scorers.word_l2 import word_l2

FUNCTIONS: dict[str, Scorer] = {
    "anchor": anchor,
    "a_only": a_only,
    "probe_cells": probe_cells,
    "probe_neighbours": probe_neighbours,
    "probe_importance": probe_importance,
    "jsd_hist": jsd_hist,
    "hellinger_sq": hellinger_sq,
    "l2_center": l2_center,
    "adaptivity_pairs": adaptivity_pairs,
    "adaptivity_coverage": adaptivity_coverage,
    "word_jsd": word_jsd,
    "word_l2": word_l2,
    "word_adaptivity": word_adaptivity,
    "lsh_jsd": lsh_jsd,
    "minhash_jaccard": minhash_jaccard,
    "mmd": mmd,
    "fid": fid,
    "source_accuracy": source_accuracy,
    "atc": atc,
    "average_confidence": average_confidence,
    "calibrated_confidence": calibrated_confidence,
    "doc": doc,
    "cot": cot,
    "label_shift_accuracy": label_shift_accuracy,
    "entropy": entropy,
    "nuclear_norm": nuclear_norm,
    "infomax": infomax,
    "mano": mano,
    "dispersion": dispersion,
    "dawid_skene": dawid_skene,
    "majority_vote": majority_vote,
    "ensv": ensv,
    "sml": sml,
    "aline": aline,
    "no_probe": no_probe,
}
