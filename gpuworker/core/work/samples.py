"""Reading and describing sample sets inside the sandbox."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuworker.core import signatures
from gpuworker.core.errors import UnreadableSamples
from gpuworker.core.modalities import MODALITY_IMPLEMENTATIONS, VALUES, WORDS
from gpuworker.core.modalities.batches import content_hash, dump_batch, load_batch, row_digests, take
from gpuworker.core.modalities.guess import guess
from gpuworker.core.modalities.options import parse_options
from gpuworker.core.protocols import SampleBatch
from gpuworker.core.sandbox.contract import Reply, Request, State
from gpuworker.core.sandbox.staging import RawTensor, write_tensors

PROBLEMS_TOLD = 500
PREVIEWS_KEPT = 2_000


def guess_samples(state: State, request: Request) -> Reply:
    """What kind of samples the files hold. Reply meta: modality, options, columns, confidence, why, alternatives."""
    return Reply(asdict(guess([file.source() for file in request.files])))


def read_samples(state: State, request: Request) -> Reply:
    """Read files into a batch. meta: modality, options; hashes: whether `row_hashes` are wanted.

    To `output`: batch, previews, previews.offsets, features (N, D) float16, and row_hashes (N, 16) uint8, equal for equal rows.
    Reply arrays: the signature of the samples as "signature.<name>", labels (N,) int64 where the files have them.
    Reply meta: n, problems (the first ones), n_problems, duplicates, label_names, batch meta, content_hash, encoder.
    """
    modality = str(request.meta["modality"])
    options = parse_options(request.meta.get("options", {}))
    result = MODALITY_IMPLEMENTATIONS[modality].read([file.source() for file in request.files], options)
    batch = result.batch
    assert request.output is not None
    given = _inputs(batch)
    staged = {"batch": np.frombuffer(dump_batch(batch), np.uint8), **_previews(batch), "features": as_half(given["features"])}
    if request.meta.get("hashes"):
        staged["row_hashes"] = _hashes(batch)
    write_tensors(request.output, {name: RawTensor.of(array) for name, array in staged.items()})
    meta = {
        "n": batch.n,
        "meta": dict(batch.meta),
        "problems": [{"name": item.name, "row": item.row, "reason": item.reason} for item in result.problems[:PROBLEMS_TOLD]],
        "n_problems": len(result.problems),
        "exact_duplicates": result.exact_duplicates,
        "near_duplicates": result.near_duplicates,
        "label_names": list(result.label_names),
        "content_hash": content_hash(batch),
        "encoder": MODALITY_IMPLEMENTATIONS[modality].FEATURES_VERSION,
    }
    arrays = {f"signature.{name}": array for name, array in signatures.compute(modality, **given).items()}
    if result.labels is not None:
        arrays["labels"] = result.labels
    return Reply(meta, arrays)


def load_samples(state: State, request: Request) -> Reply:
    """Load a batch made by `read_samples` into the session, for `run_rows`. files: the batch file. Reply meta: n."""
    state.clear()
    batch = load_batch(request.files[0].source().stream.read())
    state["batch"] = batch
    return Reply({"n": batch.n, "modality": batch.modality})


def probe_features(state: State, request: Request) -> Reply:
    """Probe features of a batch made by `read_samples`. files: the batch file. To `output`: features (N, D) float16.

    Reply meta: encoder, the version of what computed them.
    """
    batch = load_batch(request.files[0].source().stream.read())
    module = MODALITY_IMPLEMENTATIONS[batch.modality]
    assert request.output is not None
    write_tensors(request.output, {"features": RawTensor.of(as_half(module.features(batch)))})
    return Reply({"encoder": module.FEATURES_VERSION})


def take_samples(state: State, request: Request) -> Reply:
    """Some rows of a batch made by `read_samples`, as a batch of their own. files: the batch file. arrays: rows (N,) int64.

    To `output`: batch, features (N, D) float16, row_hashes (N, 16) uint8. Reply meta: n, encoder. Raises UnreadableSamples for a row
    that the batch does not have.
    """
    batch = load_batch(request.files[0].source().stream.read())
    rows = request.arrays["rows"]
    if not len(rows) or rows.min() < 0 or rows.max() >= batch.n:
        raise UnreadableSamples(
            "The samples were read again meanwhile.", detail=f"There are {batch.n} of them now.", fix="Start the search again."
        )
    taken = take(batch, rows)
    module = MODALITY_IMPLEMENTATIONS[taken.modality]
    assert request.output is not None
    staged: dict[str, NDArray[Any]] = {
        "batch": np.frombuffer(dump_batch(taken), np.uint8),
        "features": as_half(module.features(taken)),
        "row_hashes": _hashes(taken),
    }
    write_tensors(request.output, {name: RawTensor.of(array) for name, array in staged.items()})
    return Reply({"n": taken.n, "encoder": module.FEATURES_VERSION})


def as_half(features: NDArray[np.float32]) -> NDArray[np.float16]:
    """Probe features as they are stored; what is not finite or too large for float16 becomes its largest number or 0."""
    limit = float(np.finfo(np.float16).max)
    return np.nan_to_num(features, posinf=limit, neginf=-limit).clip(-limit, limit).astype(np.float16)


def sign_reference(state: State, request: Request) -> Reply:
    """Behaviour signature of a model from the loaded reference batch. arrays: labels (N,) int64 or absent, log_probs (N, C).

    meta: n_labels. Reply arrays: the signature; meta: content_hash, recipe.
    """
    batch: SampleBatch = state["batch"]
    given = _inputs(batch)
    labels, log_probs = request.arrays.get("labels"), request.arrays["log_probs"]
    n_labels = int(request.meta["n_labels"])
    arrays = signatures.compute(batch.modality, **given, labels=labels, n_labels=n_labels, log_probs=log_probs)
    digest = signatures.content_hash(batch.modality, **given, labels=labels, n_labels=n_labels, log_probs=log_probs)
    return Reply({"content_hash": digest, "recipe": signatures.recipe_hash()}, arrays)


def _hashes(batch: SampleBatch) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(row_digests(batch)), np.uint8).reshape(batch.n, -1)


def _inputs(batch: SampleBatch) -> dict[str, Any]:
    given: dict[str, Any] = {"features": MODALITY_IMPLEMENTATIONS[batch.modality].features(batch)}
    if batch.modality in WORDS:
        given["words"] = WORDS[batch.modality](batch)
    else:
        given["values"] = VALUES[batch.modality](batch)
    return given


def _previews(batch: SampleBatch) -> dict[str, NDArray[Any]]:
    """A small picture or extract of each of the first samples, as JSON texts."""
    texts = [
        json.dumps(MODALITY_IMPLEMENTATIONS[batch.modality].preview(batch, row)).encode() for row in range(min(batch.n, PREVIEWS_KEPT))
    ]
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=offsets[1:])
    return {"previews": np.frombuffer(b"".join(texts), np.uint8), "previews.offsets": offsets}
