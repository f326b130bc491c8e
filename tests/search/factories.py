"""Rows for the tests of searches, made directly: models, sample sets, boards with predictions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from accounts.models import Team, User, Visibility
from catalog.labels import label_key
from catalog.models import ModelVersion, RegisteredModel, Signature, VersionFile, VersionState
from search.models import (
    Candidate,
    CandidateState,
    PredictionChunk,
    Report,
    SampleFile,
    SampleSet,
    SampleSetState,
    Search,
    SearchEvent,
    SearchState,
)
from search.previews import previews_write
from search.reports import report_document

LABELS = ["cat", "dog", "horse"]
VERDICT = {
    "kind": "recommend",
    "sentence": "One model stands out: predicted accuracy 90 % (85 % to 94 %), best of 3 with probability 96 %.",
    "cause": "It is ahead of every other model on the same 60 samples.",
    "next_step": "Use it, or label 20 samples to confirm its accuracy.",
    "leaders": [],
    "leader_names": [],
}


def make_version(
    owner: User,
    team: Team,
    name: str = "animals",
    *,
    title: str = "",
    labels: Sequence[str] = LABELS,
    modality: str = "text",
    licence: str = "MIT",
    visibility: str = Visibility.TEAM,
    latency_ms: float | None = 2.0,
    size_bytes: int = 1_000_000,
    accuracy: float | None = 0.9,
    spec_input: dict[str, Any] | None = None,
) -> ModelVersion:
    """A published model with one version, its file and its behaviour signature."""
    model = RegisteredModel.objects.create(
        team=team,
        owner=owner,
        name=name,
        title=title or name.replace("-", " ").capitalize(),
        task="animals",
        modality=modality,
        licence=licence,
        visibility=visibility,
        accuracy=accuracy,
        label_key=label_key(labels),
        latency_ms=latency_ms,
        size_bytes=size_bytes,
    )
    version = ModelVersion.objects.create(
        model=model,
        number=1,
        state=VersionState.PUBLISHED,
        created_by=owner,
        format="onnx",
        spec={"modality": modality, "input": spec_input or {"kind": "hashed_ngrams", "features": 64}, "labels": list(labels)},
        labels=list(labels),
        label_key=label_key(labels),
        program={"ops": []},
        program_hash="ab" * 32,
        architecture="mlp",
        parameters=1000,
        size_bytes=size_bytes,
        tensor_bytes=size_bytes,
        latency_ms=latency_ms,
        memory_bytes=3_000_000,
    )
    model.published_version = version
    model.save()
    VersionFile.objects.create(version=version, name="model.onnx", size=size_bytes, sha256="cd" * 32)
    Signature.objects.create(
        version=version, recipe="1", content_hash="x", arrays=signature_bytes(seed=len(name)), n=300, accuracy=accuracy, summary={}
    )
    return version


def signature_bytes(seed: int = 0, *, words: Sequence[int] = (11, 12, 13), labels: int = 3) -> bytes:
    """The arrays of a behaviour signature: values, words, class balance, calibration."""
    draw = np.random.default_rng(seed)
    arrays: dict[str, NDArray[Any]] = {
        "value_histogram.counts": draw.integers(1, 50, 100),
        "word_counts.ids": np.array(words, np.int64),
        "word_counts.counts": draw.integers(1, 50, len(words)),
        "class_histogram.counts": draw.integers(1, 50, labels),
        "calibration.temperature": np.array([1.4]),
        "calibration.ece": np.array([0.06]),
    }
    return safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def make_sampleset(owner: User, name: str = "Field photos", *, n: int = 60, modality: str = "text", **fields: Any) -> SampleSet:
    """A set that was checked: its file, previews and signature are there."""
    values: dict[str, Any] = {
        "state": SampleSetState.READY,
        "modality": modality,
        "meta": {"modality": modality, "column": "text"},
        "guess": {"modality": modality, "why": "One column holds long text.", "options": {}, "used": {"columns": ["text"]}},
        "n": n,
        "n_seen": n + 2,
        "n_problems": 2,
        "problems": [{"name": "rows.csv", "reason": "Column 'text' is empty.", "row": row} for row in (7, 9)],
        "exact_duplicates": 1,
        "near_duplicates": 2,
        "content_hash": "ef" * 32,
        "signature": signature_bytes(99),
        "size_bytes": 5_000,
    }
    sample_set = SampleSet.objects.create(owner=owner, name=name, **{**values, **fields})
    sample_set.folder.mkdir(parents=True, exist_ok=True)
    (sample_set.folder / "stored").write_bytes(b"text\nhello\n")
    SampleFile.objects.create(sample_set=sample_set, name="rows.csv", stored="stored", size=11, sha256="aa" * 32)
    write_previews(sample_set, [{"kind": "text", "text": f"sample number {i}", "cut": False} for i in range(n)])
    return sample_set


def write_previews(sample_set: SampleSet, items: Sequence[dict[str, Any]]) -> None:
    texts = [json.dumps(item).encode() for item in items]
    ends = np.cumsum([0, *(len(text) for text in texts)]).tolist()
    previews_write(sample_set, b"".join(texts), ends)


def make_search(owner: User, sample_set: SampleSet, versions: Sequence[ModelVersion], **fields: Any) -> Search:
    """A search whose candidates are queued; `run` fills in results."""
    values: dict[str, Any] = {
        "name": sample_set.name,
        "labels": LABELS,
        "scorers": ["dawid_skene", "atc", "source_accuracy", "jsd_hist"],
        "constraints": {"label_key": versions[0].label_key if versions else ""},
        "n_samples": sample_set.n,
        "last_seq": 1,
        "excluded": [
            {
                "key": "licence",
                "sentence": "Their licence is not among those you allow",
                "count": 2,
                "examples": [["vision/other", "GPL-3.0"]],
                "relax": "licences",
            }
        ],
    }
    search = Search.objects.create(owner=owner, sample_set=sample_set, **{**values, **fields})
    SearchEvent.objects.create(search=search, seq=1, kind="queued", payload={"by": owner.username, "candidates": len(versions)})
    for place, version in enumerate(versions):
        Candidate.objects.create(
            search=search,
            version=version,
            position=place,
            prior_rank=place + 1,
            prior_scores={"jsd_hist": {"value": 0.1 + 0.05 * place, "low": None, "high": None, "why": ""}},
            updated_seq=1,
        )
    return search


def run(
    search: Search, *, accuracies: Sequence[float | None] = (0.9, 0.7, 0.6), seed: int = 0, state: str = SearchState.FINISHED
) -> Search:
    """Give candidates predictions and figures. None = ran, but its accuracy cannot be told. Candidates beyond the list stay queued."""
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, len(search.labels), search.n_samples)
    rows = list(search.candidates.order_by("position"))
    ids = []
    for place, (row, accuracy) in enumerate(zip(rows, accuracies, strict=False)):
        right = draw.random(search.n_samples) < (accuracy if accuracy is not None else 0.4)
        answers = np.where(right, truth, (truth + 1) % len(search.labels))
        give_predictions(row, answers, len(search.labels))
        fill(row, accuracy, place, len(accuracies), search.n_samples, np.bincount(answers, minlength=len(search.labels)) / search.n_samples)
        ids.append(row.pk)
    search.verdict = VERDICT | {"leaders": ids[:1], "leader_names": [rows[0].version.model.title]}
    search.state, search.samples_done, search.last_seq, search.compute_seconds = state, search.n_samples, 2, 3.5
    search.stage = "Ranking done"
    search.save()
    SearchEvent.objects.create(search=search, seq=2, kind="finished", payload={"verdict": search.verdict})
    return search


def fill(row: Candidate, accuracy: float | None, place: int, count: int, n: int, balance: NDArray[Any]) -> None:
    known = accuracy is not None
    row.state, row.samples_done, row.updated_seq = CandidateState.FINISHED, n, 2
    row.predicted = accuracy
    row.low, row.high = (max(accuracy - 0.04, 0), min(accuracy + 0.04, 1)) if accuracy is not None else (None, None)
    row.why = "" if known else "Its label sets do not match."
    row.p_best = (0.96 if place == 0 else 0.02) if known else None
    row.rank_from, row.rank_to = (place + 1, place + 1) if known else (None, None)
    row.history = [[n // 2, accuracy, row.low, row.high], [n, accuracy, row.low, row.high]] if known else []
    row.scores = {
        "dawid_skene": {"value": accuracy, "low": row.low, "high": row.high, "why": row.why},
        "source_accuracy": {"value": 0.9, "low": None, "high": None, "why": ""},
    }
    row.predicted_balance = [round(float(share), 4) for share in balance]
    row.seconds = 1.25
    row.save()


def give_predictions(row: Candidate, answers: NDArray[np.int64], width: int, *, chunk: int = 32, sure: float = 0.8) -> None:
    """Chunks of log-probabilities whose arg-max are the given labels."""
    shares = np.full((len(answers), width), (1 - sure) / max(width - 1, 1))
    shares[np.arange(len(answers)), answers] = sure
    table = np.log(shares).astype("<f2")
    for start in range(0, len(answers), chunk):
        stop = min(start + chunk, len(answers))
        PredictionChunk.objects.create(candidate=row, start=start, stop=stop, log_probs=table[start:stop].tobytes())


def fail(row: Candidate) -> None:
    row.state = CandidateState.FAILED
    row.error_title, row.error_detail = "The model gave NaN on your samples.", "In 3 of 60 rows."
    row.error_fix = "Check that the samples have the range the model expects."
    row.save()


def make_report(search: Search) -> Report:
    return Report.objects.create(search=search, created_by=search.owner, payload=report_document(search))
