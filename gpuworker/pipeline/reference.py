"""The reference sample of a version: read once in the sandbox, run through the model, turned into its behaviour signature."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalog.facts import CheckedReference, CheckedSignature, CheckedSlice
from catalog.labels import canonical_label
from catalog.models import ModelVersion, ReferenceSample, Signature
from catalog.probes import set_key
from catalog.storage import probes_path, reference_folder
from catalog.summary import SignatureSummary
from gpuworker.core import signatures
from gpuworker.core.errors import UnreadableSamples
from gpuworker.pipeline import sandboxed
from gpuworker.pipeline.arrays import dump_arrays
from gpuworker.pipeline.lease import Lease
from gpuworker.pipeline.sandboxed import RunnableVersion, Runner, SampleRows
from gpuworker.pipeline.slices import slice_write

CHUNK = 256


@dataclass(frozen=True, slots=True)
class LoadedReference:
    """A reference sample in a sandbox session. labels: (N,) int64 indexes into the version's own labels, or None.

    features: (N, D) float16 probe features by `encoder`. hashes: (N, 16) uint8, equal for equal rows. meta: of the batch.
    """

    runner: Runner
    checked: CheckedReference
    labels: NDArray[np.int64] | None
    batch: bytes
    meta: dict[str, Any]
    features: NDArray[np.float16]
    encoder: str
    hashes: NDArray[np.uint8]
    choice: str


@contextmanager
def reference_open(lease: Lease, version: ModelVersion) -> Iterator[LoadedReference | None]:
    """Read the raw files and hold them in a session; None when the version came without any. The canonical batch is deleted at the end."""
    row = ReferenceSample.objects.filter(version=version).first()
    if row is None or not row.files:
        yield None
        return
    lease.progress(0.4, "Reading the reference sample")
    folder = reference_folder(version.pk)
    files = [(file["name"], folder / file["stored"]) for file in row.files]
    staged = sandboxed.read_samples(files, modality=version.spec["modality"], options=row.options, hashes=True)
    assert staged.row_hashes is not None
    checked = CheckedReference(staged.facts["content_hash"], int(staged.facts["n"]), list(staged.facts["problems"]))
    labels = own_labels(version.labels, staged.labels, list(staged.facts["label_names"]))
    batch_path = folder / "batch.safetensors"
    batch_path.write_bytes(staged.batch)
    try:
        with Runner(batch_path) as runner:
            yield LoadedReference(
                runner,
                checked,
                labels,
                staged.batch,
                dict(staged.facts["meta"]),
                staged.features,
                str(staged.facts["encoder"]),
                staged.row_hashes,
                row.choice,
            )
    finally:
        batch_path.unlink(missing_ok=True)


def own_labels(wanted: list[str], labels: NDArray[np.int64] | None, names: list[str]) -> NDArray[np.int64] | None:
    """Indexes into the sample's own names -> indexes into the version's labels. Raises UnreadableSamples for a name the version lacks."""
    if labels is None:
        return None
    used = [names[int(index)] for index in np.unique(labels)]
    places = {canonical_label(name): place for place, name in enumerate(wanted)}
    if not any(canonical_label(name) in places for name in used) and all(name.isdecimal() and int(name) < len(wanted) for name in used):
        # Bare class numbers: they count into the labels of the spec.
        places = {str(place): place for place in range(len(wanted))}
    unknown = [name for name in used if canonical_label(name) not in places]
    if unknown:
        raise UnreadableSamples(
            "The reference sample has labels that the model does not.",
            detail=f"Expected {', '.join(wanted[:10])}; found {', '.join(unknown[:10])}.",
            fix="Correct the labels in the input spec, or leave those rows out.",
        )
    table = np.array([places.get(canonical_label(name), -1) for name in names], np.int64)
    return np.asarray(table[labels], np.int64)


def reference_sign(lease: Lease, version: ModelVersion, reference: LoadedReference) -> CheckedSignature | None:
    """The behaviour signature; None when the stored one was made by this recipe from these very rows and this model."""
    stored = Signature.objects.filter(version=version, recipe=signatures.recipe_hash()).defer("arrays").first()
    same_rows = ReferenceSample.objects.filter(version=version, content_hash=reference.checked.content_hash).exists()
    if stored is not None and same_rows:
        return None
    log_probs = _run(lease, version, reference)
    reply = reference.runner.sign_reference(reference.labels, log_probs, len(version.labels))
    summary = summarise(reply.arrays, reference.checked.n)
    return CheckedSignature(
        recipe=str(reply.meta["recipe"]),
        content_hash=str(reply.meta["content_hash"]),
        arrays=dump_arrays(reply.arrays),
        summary=dict(summary),
        n=reference.checked.n,
        accuracy=summary.get("accuracy"),
    )


def _run(lease: Lease, version: ModelVersion, reference: LoadedReference) -> NDArray[np.float32]:
    """(N, C) log-probabilities over the whole reference sample, in chunks."""
    runnable, n = RunnableVersion.of(version), reference.checked.n
    parts = []
    for start in range(0, n, CHUNK):
        lease.progress(0.6 + 0.3 * start / n, f"Running the reference sample: {start} of {n}")
        rows, _ = reference.runner.run_rows(runnable, start, min(start + CHUNK, n))
        parts.append(rows)
    return np.concatenate(parts)


def summarise(arrays: dict[str, NDArray[Any]] | Any, n: int) -> SignatureSummary:
    """The extract that pages show; parts that are missing (no labels) stay out."""
    summary: SignatureSummary = {"n": n}
    if "accuracy.correct" in arrays:
        right, seen = arrays["accuracy.class_correct"], arrays["accuracy.class_n"]
        summary["accuracy"] = float(arrays["accuracy.correct"][0] / max(1, arrays["accuracy.n"][0]))
        summary["recalls"] = [float(hit / count) if count else None for hit, count in zip(right, seen, strict=True)]
    for key, name in (
        ("true_counts", "class_histogram.counts"),
        ("predicted_counts", "output_stats.class_counts"),
        ("confidence_counts", "output_stats.confidence_counts"),
    ):
        if name in arrays:
            summary[key] = [int(count) for count in arrays[name]]  # type: ignore[literal-required]
    for key, name in (
        ("ece", "calibration.ece"),
        ("ece_scaled", "calibration.ece_scaled"),
        ("temperature", "calibration.temperature"),
        ("mean_entropy", "output_stats.mean_entropy"),
    ):
        if name in arrays:
            summary[key] = float(arrays[name][0])  # type: ignore[literal-required]
    return summary


def reference_slice(version: ModelVersion, reference: LoadedReference) -> CheckedSlice | None:
    """The slice its publisher opted in, its rows whole or absent on disk; None for no opt-in or no labels."""
    if reference.choice != ReferenceSample.Choice.PROBES or reference.labels is None:
        return None
    given = SampleRows(reference.batch, reference.features, reference.encoder, reference.hashes)
    key = set_key(version.model.modality, version.labels, reference.meta)
    return slice_write(given, reference.labels, probes_path(version.pk), key, reference.meta)
