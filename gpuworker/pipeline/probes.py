"""Probes as the ranking takes them: features and labels of the rows, every candidate's answers on them, the samples' own features."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from django.db.models import BinaryField, Case, IntegerField, Value, When
from django.db.models.functions import Substr
from numpy.typing import NDArray

from catalog.labels import label_columns
from catalog.models import ModelVersion
from catalog.probe_models import ProbeAnswers, ProbeSetVersion, ProbeSlice, ProbeSliceQuerySet
from catalog.probes import canonical_order, choose, rows_of, searchable, set_key
from gpuworker.core.errors import UnreadableSamples
from gpuworker.core.modalities import MODALITY_IMPLEMENTATIONS
from gpuworker.core.probes import ProbeFits
from gpuworker.core.probesets.selection import KIN, Chosen
from gpuworker.core.protocols import ProbeView
from gpuworker.pipeline import sandboxed
from gpuworker.pipeline.arrays import dump_arrays, load_arrays
from search.models import SampleSet, Search

LEAST_LOG = -16.0  # below every stored log-probability


@dataclass(frozen=True, slots=True)
class Probes:
    """The probes of one search. Letters: M versions that answered every probe, R probes, C labels in the order asked for.

    view: features, labels, and the source of each probe: slices that share rows, or are of one model or one sample set, are one source.
    fits: what was worked out on these probes, also for other searches.
    versions: (M,) ids, ascending. answers: (M, R, C) float16 log-probabilities. sources: version id -> the sources that its own
    reference sample belongs to. left_out: version id -> how many probes its reference sample holds though somebody else gave them;
    there it has the mean answer of the others, so that they speak neither for nor against it.
    set_version: the row of this choice, with its digest and its calibrations. pieces: ids of the slices that the choice was made
    from, with which `probe_view` makes it again. facts: for pages, JSON-safe.
    """

    view: ProbeView
    fits: ProbeFits
    versions: NDArray[np.int64]
    answers: NDArray[np.float16]
    sources: Mapping[int, tuple[int, ...]]
    left_out: Mapping[int, int]
    set_version: ProbeSetVersion
    pieces: tuple[int, ...]
    facts: dict[str, Any]

    def of(self, version_id: int) -> NDArray[np.float16] | None:
        """(R, C) a version's answers; None for one that has not answered all of the probes."""
        place = int(np.searchsorted(self.versions, version_id))
        return self.answers[place] if place < len(self.versions) and self.versions[place] == version_id else None


_KEPT: OrderedDict[tuple[str, tuple[int, ...]], ProbeFits] = OrderedDict()
MOST_KEPT = 8


def _fits_of(pieces: Sequence[ProbeSlice], chosen: Chosen, labels: NDArray[np.int64], sources: NDArray[np.int64]) -> ProbeFits | None:
    """What a worker process has worked out on a choice of probes, known again by its digest and the slices it was made from, or a new
    one; None when a slice was withdrawn just now. Only for a new one the features are read. What holds a withdrawn slice is let go."""
    held = {pk for _, slices in _KEPT for pk in slices}
    there = set(ProbeSlice.objects.filter(withdrawn=None, pk__in=held).values_list("pk", flat=True))
    for old in [old for old in _KEPT if not there.issuperset(old[1])]:
        del _KEPT[old]
    key = chosen.digest, tuple(piece.pk for piece in pieces)
    if key not in _KEPT:
        features = _features(pieces, chosen)
        if features is None:
            return None
        _KEPT[key] = ProbeFits(ProbeView(features, labels, sources))
    _KEPT.move_to_end(key)
    while len(_KEPT) > MOST_KEPT:
        _KEPT.popitem(last=False)
    return _KEPT[key]


def _features(pieces: Sequence[ProbeSlice], chosen: Chosen) -> NDArray[np.float32] | None:
    """(R, D) of the chosen rows; None when a slice has been withdrawn meanwhile."""
    found = ProbeSlice.objects.filter(pk__in=chosen.rows).values_list("pk", "features")
    held = {pk: bytes(packed) for pk, packed in found if packed}
    if len(held) < len(chosen.rows):
        return None
    parts = [np.frombuffer(held[piece.pk], "<f2").reshape(piece.n, -1)[chosen.rows[piece.pk]] for piece in pieces if piece.pk in held]
    return np.concatenate(parts).astype(np.float32)


def search_slices(search: Search) -> ProbeSliceQuerySet:
    """Slices for the labels of a search that its owner may search with."""
    key = set_key(search.sample_set.modality, search.labels, search.sample_set.meta)
    return ProbeSlice.objects.open_to(search.owner).filter(set_key=key)


def catalog_probes(pieces: Sequence[ProbeSlice]) -> Probes | None:
    """The choice among these slices of one set key, labels in canonical order, with the answers of every searchable version."""
    if not pieces:
        return None
    versions = searchable().filter(label_key=pieces[0].label_key, model__modality=pieces[0].modality)
    return probe_view(pieces, canonical_order(pieces[0].labels), list(versions.values_list("pk", flat=True)))


def without_features(slices: ProbeSliceQuerySet) -> ProbeSliceQuerySet:
    """Slices as `choice_of` and `probe_view` read them."""
    return slices.select_related("version__model").defer("features", "version__program", "version__spec", "version__facts")


def choice_of(pieces: Sequence[ProbeSlice]) -> tuple[list[ProbeSlice], Chosen, ProbeSetVersion] | None:
    """Of slices of one set key: those with features of today's encoder, what is chosen of them, and its row; None without any."""
    pieces = [piece for piece in pieces if piece.encoder == MODALITY_IMPLEMENTATIONS[piece.modality].FEATURES_VERSION]
    chosen = choose(pieces)
    if not chosen.n:
        return None
    considered = sorted(piece.pk for piece in pieces)
    made, _ = ProbeSetVersion.objects.get_or_create(
        digest=chosen.digest,
        defaults={"set_key": pieces[0].set_key, "n": chosen.n, "sources": chosen.used_sources, "pieces": considered},
    )
    return pieces, chosen, made


def probe_view(pieces: Sequence[ProbeSlice], labels: Sequence[str], version_ids: Sequence[int]) -> Probes | None:
    """Choose among slices of one set key, and read what the ranking needs; four queries, whatever the number of versions and
    slices; one for what this process holds, and one for the features of a choice that it has not met."""
    choice = choice_of(pieces)
    if choice is None:
        return None
    pieces, chosen, made = choice
    taken = [piece for piece in pieces if piece.pk in chosen.rows]
    place = np.array(label_columns(labels, canonical_order(labels)), np.int64)
    found = np.concatenate([place[rows_of(piece).labels[chosen.rows[piece.pk]]] for piece in taken])
    sources = np.concatenate([np.full(len(chosen.rows[piece.pk]), chosen.sources[piece.pk], np.int64) for piece in taken])
    fits = _fits_of(pieces, chosen, found, sources)
    if fits is None:
        return None
    view = ProbeView(fits.features, found, sources)
    versions, answers, seen = _answers(taken, chosen, labels, sorted(set(version_ids)))
    left_out = {int(version): int(count) for version, count in zip(versions, seen.sum(1), strict=True) if count}
    _even_out(answers, seen)
    facts = {
        "digest": chosen.digest,
        "n": chosen.n,
        "sources": chosen.used_sources,
        "slices": len(taken),
        "asked": len(set(version_ids)),
        "answered": len(versions),
        "left_out": sum(left_out.values()),
    }
    ids = tuple(sorted(piece.pk for piece in pieces))
    return Probes(view, fits, versions, answers, _own_sources(pieces, chosen, view, versions, seen), left_out, made, ids, facts)


def _answers(
    pieces: Sequence[ProbeSlice], chosen: Chosen, labels: Sequence[str], version_ids: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.float16], NDArray[np.bool_]]:
    """Versions (M,) that answered every slice, their answers (M, R, C), and (M, R) which rows their reference sample holds too.

    Only the beginning of each slice's answers that is needed leaves the database. One query.
    """
    classes = len(labels)
    lengths = [When(piece=piece, then=Value(chosen.stop(piece.pk) * classes * 2)) for piece in pieces]
    beginning = Substr("log_probs", 1, Case(*lengths, output_field=IntegerField()), output_field=BinaryField())
    found = ProbeAnswers.objects.filter(piece__in=pieces, version__in=version_ids, log_probs__isnull=False)
    ends = np.cumsum([0, *(len(chosen.rows[piece.pk]) for piece in pieces)])
    spans = {piece.pk: slice(low, high) for piece, low, high in zip(pieces, ends[:-1], ends[1:], strict=True)}
    columns = {piece.pk: label_columns(piece.labels, labels) for piece in pieces}
    table = np.zeros((len(version_ids), int(ends[-1]), classes), np.float16)
    seen = np.zeros(table.shape[:2], np.bool_)
    place = {version: number for number, version in enumerate(version_ids)}
    counts: Counter[int] = Counter()
    for version, piece, held, packed in found.values_list("version", "piece", beginning, "seen"):
        rows, at = chosen.rows[piece], place[version]
        table[at, spans[piece]] = np.frombuffer(held, "<f2").reshape(-1, classes)[rows][:, columns[piece]]
        if packed:
            seen[at, spans[piece]] = np.unpackbits(np.frombuffer(packed, np.uint8))[rows].astype(np.bool_)
        counts[at] += 1
    whole = [at for at in range(len(version_ids)) if counts[at] == len(pieces)]
    if len(whole) < len(version_ids):
        table, seen = table[whole], seen[whole]
    return np.array(version_ids, np.int64)[whole], table, seen


def _even_out(answers: NDArray[np.float16], seen: NDArray[np.bool_]) -> None:
    """Where a version's reference sample holds a probe, put the mean answer of the versions whose sample does not; even without any."""
    for row in np.flatnonzero(seen.any(0)):
        others = ~seen[:, row]
        chances = np.exp(answers[others, row].astype(np.float64)).mean(0) if others.any() else np.ones(answers.shape[2])
        answers[seen[:, row], row] = np.maximum(np.log(np.maximum(chances / chances.sum(), 1e-30)), LEAST_LOG)


def _own_sources(
    pieces: Sequence[ProbeSlice], chosen: Chosen, view: ProbeView, versions: NDArray[np.int64], seen: NDArray[np.bool_]
) -> dict[int, tuple[int, ...]]:
    """Sources of a version's own model, and those of which its reference sample holds a notable part."""
    of_model: dict[int, set[int]] = defaultdict(set)
    for piece in pieces:
        if piece.version is not None:
            of_model[piece.version.model_id].add(chosen.sources[piece.pk])
    models = dict(ModelVersion.objects.filter(pk__in=versions.tolist()).values_list("pk", "model_id"))
    sizes = np.bincount(view.publishers)
    own = {}
    for version, rows in zip(versions.tolist(), seen, strict=True):
        shared = np.bincount(view.publishers[rows], minlength=len(sizes))
        own[version] = tuple(sorted(of_model[models[version]] | set(np.flatnonzero((shared > 0) & (shared >= KIN * sizes)).tolist())))
    return own


def sample_features(sample_set: SampleSet) -> NDArray[np.float32]:
    """(n, D) probe features of a sample set, by the encoder of today. Computed in the sandbox where no file has them, then kept.

    Raises UnreadableSamples when the samples are gone.
    """
    encoder = MODALITY_IMPLEMENTATIONS[sample_set.modality].FEATURES_VERSION
    path = features_path(sample_set)
    kept = load_arrays(path.read_bytes()) if path.is_file() else {}
    if kept and kept["encoder"].tobytes().decode() == encoder and len(kept["features"]) == sample_set.n:
        return np.asarray(kept["features"], np.float32)
    features, encoder = sandboxed.probe_features(sample_set.batch_path)
    if len(features) != sample_set.n:
        raise UnreadableSamples(
            "The samples were read again meanwhile.", detail=f"{len(features)} now, {sample_set.n} before.", fix="Start the search again."
        )
    features_write(sample_set, features, encoder)
    return features.astype(np.float32)


def features_write(sample_set: SampleSet, features: NDArray[np.float16], encoder: str) -> int:
    """Keep the features beside the batch, whole or not at all; they go with the set's folder. Bytes written."""
    content = dump_arrays({"features": features, "encoder": np.frombuffer(encoder.encode(), np.uint8)})
    temporary = features_path(sample_set).with_suffix(".new")
    temporary.write_bytes(content)
    temporary.replace(features_path(sample_set))
    return len(content)


def features_path(sample_set: SampleSet) -> Path:
    return sample_set.folder / "features.safetensors"
