"""Domains as samples: read by the product's own readers, with labels in the task's order, the official test part and recordings."""

from __future__ import annotations

import functools
import io
import json
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from catalog.labels import canonical_label
from gpuworker.core.compatibility import channel_order
from gpuworker.core.errors import Incompatible
from gpuworker.core.modalities import MODALITY_IMPLEMENTATIONS, image
from gpuworker.core.modalities.batches import OFFSETS, take
from gpuworker.core.modalities.options import ReadOptions
from gpuworker.core.protocols import SampleBatch, SourceFile
from gpuworker.zoo.corruptions import corrupted
from gpuworker.zoo.sources import HYPOTHESIS, LABEL, PREMISE, SPLIT, TEXT, TOKENS, Source, Unusable, is_test
from gpuworker.zoo.tasks import Domain, Task

MOST_TRAINING = 3_000
MOST_TEST = 1_500
TEST_SHARE = 0.3
NEIGHBOURS = 2
TOKENS_PER_SENTENCE = 4


@dataclass(frozen=True, slots=True)
class Samples:
    """N samples of one domain. labels: (N,) int64 into the task's labels; test: (N,) bool; recordings: (N,) int64, rows of one
    number were recorded together and stay on one side of every split."""

    batch: SampleBatch
    labels: NDArray[np.int64]
    test: NDArray[np.bool_]
    recordings: NDArray[np.int64]

    def of(self, rows: NDArray[np.int64]) -> Samples:
        return Samples(take(self.batch, rows), self.labels[rows], self.test[rows], self.recordings[rows])


def read_domain(task: Task, domain: Domain) -> Samples:
    """At most MOST_TRAINING rows to train on and MOST_TEST to score, chosen once for all seeds. Raises Unusable, OSError."""
    source = domain.source
    samples = _arrays(source, domain.subjects) if source.kind == "arrays" else _table(source)
    samples = Samples(samples.batch, _reordered(samples.labels, source.labels, task.labels), samples.test, samples.recordings)
    if domain.corruption:
        samples = _corrupted(samples, domain, task)
    return samples.of(_chosen(samples.test, samples.recordings))


def _reordered(labels: NDArray[np.int64], own: tuple[str, ...], wanted: tuple[str, ...]) -> NDArray[np.int64]:
    places = {canonical_label(name): place for place, name in enumerate(wanted)}
    return np.array([places[canonical_label(name)] for name in own], np.int64)[labels]


def _chosen(test: NDArray[np.bool_], recordings: NDArray[np.int64]) -> NDArray[np.int64]:
    rng = np.random.default_rng(0)
    order = rng.permutation(len(test))
    return np.sort(np.concatenate([order[~test[order]][:MOST_TRAINING], order[test[order]][:MOST_TEST]]))


def _read(
    source: Source, name: str, content: bytes, options: ReadOptions, wanted: NDArray[np.int64]
) -> tuple[SampleBatch, NDArray[np.int64]]:
    """The batch of all readable rows and their places among the rows handed over."""
    result = MODALITY_IMPLEMENTATIONS[source.modality].read([SourceFile(name, io.BytesIO(content), len(content))], options)
    bad = {problem.row - 1 for problem in result.problems if problem.row is not None}
    kept = np.array([row for row in range(len(wanted)) if row not in bad], np.int64)
    if len(kept) != result.batch.n:
        raise Unusable(f"the reader used {result.batch.n} of {len(wanted)} rows and did not say which")
    return result.batch, kept


def _arrays(source: Source, subjects: tuple[int, ...]) -> Samples:
    samples, who = _whole(source)
    return samples.of(np.flatnonzero(np.isin(who, subjects))) if subjects and who is not None else samples


@functools.lru_cache(maxsize=1)  # the domains cut from one file are read one after the other
def _whole(source: Source) -> tuple[Samples, NDArray[np.int64] | None]:
    """All samples of a file, and whose they are."""
    with np.load(source.path, allow_pickle=False) as arrays:
        labels = arrays["y"].astype(np.int64)
        who = arrays["subject"].astype(np.int64) if "subject" in arrays.files else None
        test = is_test(arrays["split"]) if "split" in arrays.files else _own_test(labels, who)
        trial = arrays["trial"].astype(np.int64) if "trial" in arrays.files else None
    batch, kept = _read(source, source.path.name, source.path.read_bytes(), ReadOptions(), labels)
    recordings = _recordings(labels, who, trial)
    return Samples(batch, labels[kept], test[kept], recordings[kept]), None if who is None else who[kept]


def _own_test(labels: NDArray[np.int64], who: NDArray[np.int64] | None) -> NDArray[np.bool_]:
    """A seeded test part where the file has none: whole subjects, else rows."""
    rng = np.random.default_rng(0)
    if who is None:
        return np.asarray(rng.random(len(labels)) < TEST_SHARE)
    people = rng.permutation(np.unique(who))
    return np.isin(who, people[: max(1, round(TEST_SHARE * len(people)))])


def _recordings(labels: NDArray[np.int64], who: NDArray[np.int64] | None, trial: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """By trial number; where only subjects are known, a run of rows of one subject and label: its windows may overlap."""
    if trial is not None:
        return np.unique(trial, return_inverse=True)[1].astype(np.int64)
    if who is None:
        return np.arange(len(labels))
    changes = (np.diff(labels) != 0) | (np.diff(who) != 0)
    return np.concatenate([[0], np.cumsum(changes)]).astype(np.int64)


def _table(source: Source) -> Samples:
    """Rows are chosen before they are read: a table may hold many more than are used."""
    table = pq.read_table(source.path)
    marks = table.column(SPLIT).to_pylist() if SPLIT in table.column_names else None
    if source.kind == "tokens":
        texts, labels, sentence = _in_context(source, table)
        table = pa.table({TEXT: texts})
        recordings = sentence
        test = _split(None if marks is None else [marks[row] for row in sentence.tolist()], recordings)
    else:
        labels = table.column(LABEL).to_numpy().astype(np.int64)
        recordings = np.arange(len(labels))
        test = _split(marks, recordings)
    if source.kind == "entailment":
        table = pa.table({"left_text": table.column(PREMISE), "right_text": table.column(HYPOTHESIS)})
    rows = _chosen(test, recordings)
    buffer = io.BytesIO()
    pq.write_table(table.take(rows).replace_schema_metadata(None), buffer)
    options = ReadOptions(columns=(TEXT,)) if source.modality == "text" else ReadOptions()
    batch, kept = _read(source, f"{source.name}.parquet", buffer.getvalue(), options, rows)
    rows = rows[kept]
    return Samples(batch, labels[rows], test[rows], recordings[rows])


def _split(marks: list[str] | None, recordings: NDArray[np.int64]) -> NDArray[np.bool_]:
    if marks is not None:
        return is_test(marks)
    rng = np.random.default_rng(0)
    return np.asarray(rng.random(int(recordings.max()) + 1) < TEST_SHARE)[recordings]


def _in_context(source: Source, table: pa.Table) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """One sample per token, a few of each sentence: the token in brackets between its two neighbours on each side."""
    sentences, tags = table.column(TOKENS).to_pylist(), table.column(source.tags).to_pylist()
    numbers = {name: place for place, name in enumerate(source.labels)}
    rng = np.random.default_rng(0)
    texts: list[str] = []
    labels: list[int] = []
    origin: list[int] = []
    for place, (words, row) in enumerate(zip(sentences, tags, strict=True)):
        for middle in rng.permutation(len(words))[:TOKENS_PER_SENTENCE].tolist():
            before, after = words[max(0, middle - NEIGHBOURS) : middle], words[middle + 1 : middle + 1 + NEIGHBOURS]
            texts.append(" ".join([*before, f"[{words[middle]}]", *after]))
            labels.append(row[middle] if isinstance(row[middle], int) else numbers[row[middle]])
            origin.append(place)
    return texts, np.array(labels, np.int64), np.array(origin, np.int64)


def _corrupted(samples: Samples, domain: Domain, task: Task) -> Samples:
    """Its own share of the training images and all test images, corrupted: no image trains two domains."""
    names = [other.name for other in task.domains]
    place = names.index(domain.name) if domain.name in names else 0
    trained = np.flatnonzero(~samples.test)[place :: max(len(names), 1)]
    part = samples.of(np.sort(np.concatenate([trained, np.flatnonzero(samples.test)])))
    pixels = corrupted(image.values(part.batch), domain.corruption)
    shapes = np.tile(np.array(pixels.shape[1:], np.int32), (len(pixels), 1))
    offsets = np.arange(len(pixels) + 1, dtype=np.int64) * int(np.prod(pixels.shape[1:]))
    arrays: dict[str, NDArray[Any]] = {"pixels": pixels.ravel(), "pixels" + OFFSETS: offsets, "shapes": shapes}
    size: dict[str, Any] = {"height": [pixels.shape[1]] * 2, "width": [pixels.shape[2]] * 2, "channels": [pixels.shape[3]]}
    batch = SampleBatch("image", len(pixels), arrays, {**part.batch.meta, **size})
    return Samples(batch, part.labels, part.test, part.recordings)


def aligned(samples: Samples, like: SampleBatch) -> Samples:
    """Samples of another folder with the channels of `like`, in its order; other kinds stay as they are. Raises Incompatible."""
    if samples.batch.modality != "series":
        return samples
    names = like.meta.get("channel_names") or [str(place) for place in range(int(like.meta["channels"]))]
    order = channel_order(samples.batch.meta.get("channel_names"), int(samples.batch.meta["channels"]), names)
    if isinstance(order, str):
        raise Incompatible("The samples do not fit the task.", detail=order)
    meta = {**samples.batch.meta, "channels": len(order)} | ({"channel_names": list(names)} if "channel_names" in like.meta else {})
    batch = SampleBatch("series", samples.batch.n, {"values": samples.batch.arrays["values"][:, :, order]}, meta)
    return Samples(batch, samples.labels, samples.test, samples.recordings)


def content_key(task: Task) -> str:
    """16 hex digits over the bytes of a task's files, its domains and labels."""
    digest = blake2b(json.dumps([task.name, task.modality, task.labels, [domain.name for domain in task.domains]]).encode(), digest_size=8)
    for path in sorted({domain.source.path for domain in task.domains}):
        digest.update(_file_digest(path))
    return digest.hexdigest()


def _file_digest(path: Path) -> bytes:
    return blake2b(path.read_bytes(), digest_size=16).digest()
