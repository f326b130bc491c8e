"""What the predictions of a search rest on beside its samples: labelled probes, chosen once, and how wrong predictions with them are.

The choice is kept with the search. A run that takes over from a dead worker makes the same one again, whatever was given or answered
meanwhile; probes that were withdrawn meanwhile are gone from it, and the search says so.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalog.probes import usable
from gpuworker.core.errors import UserError
from gpuworker.core.probes.calibration import UNCALIBRATED, Calibration
from gpuworker.pipeline.calibration import calibration_start
from gpuworker.pipeline.lease import OUTAGE
from gpuworker.pipeline.probes import Probes, probe_view, sample_features, search_slices, without_features
from search.metrics import calibration_key
from search.models import Search

log = logging.getLogger(__name__)
NOBODY = "Nobody whose probes you may use has given labelled samples with these labels."
NOT_YET = "The models are still being run on the labelled probes for these labels."
WITHDRAWN = "The labelled probes that this search began with were withdrawn meanwhile."
BROKEN = "The labelled probes could not be read: something broke on our side."


@dataclass(frozen=True, slots=True)
class Grounds:
    """features: (n, D) of the samples, with the probes' encoder; None without probes. document: what is kept as `Search.probes`."""

    features: NDArray[np.float32] | None
    probes: Probes | None
    calibration: Calibration
    document: dict[str, Any]


def grounds_of(search: Search) -> Grounds:
    """The probes of a search: those it began with, or those there are now. Trouble with them is told, and never fails the search.

    An outage of the database is raised: it ends the attempt, not the search.
    """
    try:
        return _again(search) if search.probes else _first(search)
    except OUTAGE:
        raise
    except UserError as error:
        return _nothing(error.title)
    except Exception:
        log.exception("the probes of search %s could not be read", search.pk)
        return _nothing(BROKEN)


def _first(search: Search) -> Grounds:
    slices = search_slices(search)
    versions = list(search.candidates.values_list("version_id", flat=True))
    probes = probe_view(usable(without_features(slices)), search.labels, versions)
    if probes is None:
        return _nothing(NOT_YET if slices.exists() else NOBODY)
    key = calibration_key(search.metric)
    calibration_start(probes.set_version, key)  # a search that finds none goes on without
    table = probes.set_version.table(key)
    return _found(search, probes, table, 0)


def _again(search: Search) -> Grounds:
    kept = search.probes
    if not kept.get("digest"):
        return _nothing(kept["why"])
    pieces = list(without_features(search_slices(search).filter(pk__in=kept["pieces"])))
    probes = probe_view(pieces, search.labels, kept["versions"])
    if probes is None:
        return _nothing(WITHDRAWN)
    return _found(search, probes, kept["calibration"], kept["lost"] + kept["n"] - probes.facts["n"])


def _found(search: Search, probes: Probes, table: Mapping[str, Any], lost: int) -> Grounds:
    """table: the calibration as stored, empty for none. lost: probes withdrawn since the search began."""
    features = sample_features(search.sample_set)[: search.n_samples]
    chosen = {"pieces": list(probes.pieces), "versions": probes.versions.tolist(), "calibration": dict(table)}
    calibration = Calibration.of_document(table) if table else UNCALIBRATED
    return Grounds(features, probes, calibration, {**probes.facts, **chosen, "lost": max(0, lost), "why": ""})


def _nothing(why: str) -> Grounds:
    return Grounds(None, None, UNCALIBRATED, {"why": why})
