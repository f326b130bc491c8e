"""What the core is shown of a search's candidates: their signatures, their answers to the probes, and the predictions saved so far."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from catalog.labels import label_columns
from gpuworker.core.protocols import CandidateView
from gpuworker.core.signatures.columns import in_label_order
from gpuworker.pipeline.arrays import load_arrays
from gpuworker.pipeline.probes import Probes
from search.models import Candidate, PredictionChunk, Search


def candidate_views(search: Search, candidates: Sequence[Candidate], probes: Probes | None) -> list[CandidateView]:
    """One for each candidate, labels in the order of the search. Sets how many of its samples each has predictions for."""
    saved = _saved(search, candidates)
    return [
        CandidateView(
            _signature_of(candidate, search.labels),
            saved.get(candidate.pk),
            probes.of(candidate.version_id) if probes else None,
            probes.sources.get(candidate.version_id, ()) if probes else (),
        )
        for candidate in candidates
    ]


def _saved(search: Search, candidates: Sequence[Candidate]) -> dict[int, NDArray[np.float32]]:
    """What an earlier attempt saved, by candidate: the chunks from 0 without a gap."""
    parts: defaultdict[int, list[NDArray[np.float32]]] = defaultdict(list)
    ends: Counter[int] = Counter()
    for chunk in PredictionChunk.objects.filter(candidate__search=search).order_by("candidate_id", "start").iterator():
        if chunk.start == ends[chunk.candidate_id]:
            rows = np.frombuffer(bytes(chunk.log_probs), "<f2").reshape(chunk.stop - chunk.start, len(search.labels))
            parts[chunk.candidate_id].append(rows.astype(np.float32))
            ends[chunk.candidate_id] = chunk.stop
    for candidate in candidates:
        candidate.samples_done = ends[candidate.pk]
    return {pk: np.concatenate(own) for pk, own in parts.items()}


def _signature_of(candidate: Candidate, search_labels: list[str]) -> dict[str, NDArray[np.generic]]:
    """The stored arrays, those with one entry per label in the order of the search, as the predictions are."""
    signature = getattr(candidate.version, "signature", None)
    return in_label_order(load_arrays(signature.arrays), label_columns(candidate.version.labels, search_labels)) if signature else {}
