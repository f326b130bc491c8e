"""The worker's side of the sandbox: typed calls, files in and out. One sandbox a worker process, one session a job."""

from __future__ import annotations

import contextlib
import mmap
import os
import resource
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from django.conf import settings
from numpy.typing import NDArray

from catalog.models import ModelVersion, Tensor
from gpuworker.core.errors import ExecutionFailed, LimitExceeded, UnreadableModel, UnreadableSamples
from gpuworker.core.program.keys import content_key
from gpuworker.core.program.store import TensorStore
from gpuworker.core.sandbox import Limits, Reply, Sandbox, Session, StagedTensor
from gpuworker.core.sandbox.contract import Device

MIB = 1024**2
OPEN_BESIDE = 512  # database, broker, logs, packs
DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "U16": torch.uint16, "I16": torch.int16, "U32": torch.uint32,
    "I32": torch.int32, "U64": torch.uint64, "I64": torch.int64, "F16": torch.float16,
    "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64,
}  # fmt: skip
PLACE = ("key", "dtype", "shape", "nbytes", "pack", "offset")  # of a tensor
Files = Sequence[tuple[str, Path]]
MOST_OUTPUT = 8 * 1024 * MIB  # of what is read from sample files


@cache
def sandbox() -> Sandbox:
    """The sandbox of this worker process."""
    return Sandbox()


@cache
def device() -> str:
    """cuda where there is one and WORKER_DEVICE does not say otherwise."""
    if settings.WORKER_DEVICE == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return str(settings.WORKER_DEVICE)


@cache
def store() -> TensorStore:
    return TensorStore(settings.TENSOR_DIR)


def session(*, output: int = 0, files: int = 0) -> Session:
    """A locked child for one job's calls, with the limits of the settings.

    output: bytes it may write to a staging file. files: how many it is given at once. Raises LimitExceeded when that is more
    than this process may open.
    """
    kind: Device = "cuda" if device().startswith("cuda") else "cpu"
    limits = Limits(memory=settings.SANDBOX_MEMORY_MB * MIB, wall_s=settings.SANDBOX_CALL_SECONDS, output=output, device=kind)
    return sandbox().session(replace(limits, open_files=max(limits.open_files, _allow_files(files))))


def _allow_files(count: int) -> int:
    """Let this process open so many files for a child (and hand each over) beside what it has open; returns the count."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * count + OPEN_BESIDE
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise LimitExceeded(
            "The sample set has too many single files.",
            detail=f"{count} files; this worker may open {max(hard - OPEN_BESIDE, 0) // 2} at once.",
            fix="Upload them as one zip.",
        )
    if soft != resource.RLIM_INFINITY and needed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return count


@dataclass(frozen=True, slots=True)
class StagedModel:
    """A model as the child read it. tensors: by content key, memory-mapped from the staging file and checked against their keys."""

    program: dict[str, Any]
    facts: dict[str, Any]
    value_key: str
    tensors: Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class StagedSamples:
    """A sample set as the child read it. facts: n, meta, problems, duplicates, label_names, content_hash, encoder (work/samples.py).

    features: (N, D) float16 probe features. row_hashes: (N, 16) uint8, or None when not asked for.
    """

    facts: dict[str, Any]
    signature: dict[str, NDArray[Any]]
    labels: NDArray[np.int64] | None
    batch: bytes
    previews: bytes
    preview_offsets: NDArray[np.int64]
    features: NDArray[np.float16]
    row_hashes: NDArray[np.uint8] | None


def read_model(files: Files, *, format_key: str, config: Mapping[str, Any] | None = None) -> StagedModel:
    """Open model files in the sandbox. Raises the reader's UserError, or LimitExceeded."""
    limit = max(4 * sum(path.stat().st_size for _, path in files), 64 * MIB)
    with _staging() as staging, session(output=limit) as child, _opened(files) as fds:
        reply = child.call("read_model", {"format": format_key, "config": config}, files=fds, output=staging.fileno())
        tensors = {key: _tensor(staging, place) for key, place in reply.staged.items()}
    for key, tensor in tensors.items():
        if content_key(tensor) != key:
            raise UnreadableModel(
                "The reader gave a tensor under a wrong key.",
                detail=key,
                fix="Upload the file again; tell the operator if it happens again.",
            )
    return StagedModel(dict(reply.meta["program"]), dict(reply.meta["facts"]), str(reply.meta["value_key"]), tensors)


def guess_samples(files: Files) -> dict[str, Any]:
    """What kind of samples these files hold, and why it looks so (core.modalities.guess.Guess as JSON)."""
    with session(files=len(files)) as child, _opened(files) as fds:
        return dict(child.call("guess_samples", files=fds).meta)


def read_samples(files: Files, *, modality: str, options: Mapping[str, Any], hashes: bool = False) -> StagedSamples:
    """Read sample files in the sandbox. Raises UnreadableSamples when none is usable."""
    asked = {"modality": modality, "options": dict(options), "hashes": hashes}
    with _staging() as staging, session(output=MOST_OUTPUT, files=len(files)) as child, _opened(files) as fds:
        reply = child.call("read_samples", asked, files=fds, output=staging.fileno())
        raw = {name: _bytes(staging, reply, name) for name in ("batch", "previews", "previews.offsets")}
        features = _array(staging, reply, "features", "F16")
        row_hashes = _array(staging, reply, "row_hashes", "U8") if hashes else None
    signature = {name.removeprefix("signature."): array for name, array in reply.arrays.items() if name.startswith("signature.")}
    offsets = np.frombuffer(raw["previews.offsets"], "<i8")
    labels = reply.arrays.get("labels")
    return StagedSamples(dict(reply.meta), signature, labels, raw["batch"], raw["previews"], offsets, features, row_hashes)


def probe_features(batch_path: Path) -> tuple[NDArray[np.float16], str]:
    """(N, D) probe features of a stored batch, and the version of their encoder. Raises UnreadableSamples when it is gone."""
    try:
        with _staging() as staging, session(output=MOST_OUTPUT) as child, _opened([("batch", batch_path)]) as fds:
            reply = child.call("probe_features", files=fds, output=staging.fileno())
            return _array(staging, reply, "features", "F16"), str(reply.meta["encoder"])
    except FileNotFoundError as error:
        raise _gone() from error


@dataclass(frozen=True, slots=True)
class SampleRows:
    """N rows of samples: their batch, (N, D) float16 features by `encoder`, (N, 16) uint8 hashes, equal for equal rows."""

    batch: bytes
    features: NDArray[np.float16]
    encoder: str
    hashes: NDArray[np.uint8]


def take_samples(batch_path: Path, rows: NDArray[np.int64]) -> SampleRows:
    """These rows of a stored batch, in this order. Raises UnreadableSamples when it is gone, or has no such row."""
    try:
        with _staging() as staging, session(output=MOST_OUTPUT) as child, _opened([("batch", batch_path)]) as fds:
            reply = child.call("take_samples", arrays={"rows": rows}, files=fds, output=staging.fileno())
            features, hashes = (_array(staging, reply, name, kind) for name, kind in (("features", "F16"), ("row_hashes", "U8")))
            batch = _bytes(staging, reply, "batch")
    except FileNotFoundError as error:
        raise _gone() from error
    if len(hashes) != len(rows):
        raise ExecutionFailed("The sandboxed process did not behave.", detail=f"{len(hashes)} rows of {len(rows)}.", fix="Try again.")
    return SampleRows(batch, features, str(reply.meta["encoder"]), hashes)


@dataclass(frozen=True, slots=True)
class RunnableVersion:
    """What the child needs to run a stored version. memory_bytes: of one sample with all weights, as measured when it was published."""

    spec: dict[str, Any]
    program: dict[str, Any]
    places: tuple[dict[str, Any], ...]
    memory_bytes: int = 0

    @property
    def document(self) -> dict[str, Any]:
        """What a job is told of it, its tensors apart."""
        return {"spec": self.spec, "program": self.program, "device": device()}

    @classmethod
    def of(cls, version: ModelVersion) -> RunnableVersion:
        """From the rows of a checked version."""
        if version.program is None:
            raise ExecutionFailed("The version has no program.", detail=str(version), fix="Publish it again.")
        return cls(version.spec, version.program, _places(version.tensors.values_list(*PLACE)), version.memory_bytes or 0)

    @classmethod
    def of_all(cls, pks: Collection[int]) -> dict[int, RunnableVersion]:
        """By version id, those that have a program. Two queries that make no objects: they are asked for dozens of versions at once."""
        held: defaultdict[int, list[tuple[Any, ...]]] = defaultdict(list)
        links = Tensor.versions.through.objects.filter(modelversion__in=pks)
        for pk, *place in links.values_list("modelversion", *(f"tensor__{name}" for name in PLACE)):
            held[pk].append(tuple(place))
        found = ModelVersion.objects.filter(pk__in=pks).values_list("pk", "spec", "program", "memory_bytes")
        return {pk: cls(spec, program, _places(held[pk]), memory or 0) for pk, spec, program, memory in found if program is not None}


def _places(rows: Iterable[tuple[Any, ...]]) -> tuple[dict[str, Any], ...]:
    """In the order of keys."""
    return tuple(dict(zip(PLACE, row, strict=True)) for row in sorted(rows, key=itemgetter(0)))


class PlanGone(Exception):
    """The child died, and the plan with it."""


class Runner:
    """One session that runs many versions on one sample batch. After a crash of the child the samples are loaded again.

    The batch stays open meanwhile, so that a set deleted in mid-run is still whole for this run. Raises UnreadableSamples
    when it is already gone.
    """

    def __init__(self, batch_path: Path) -> None:
        self._batch_path = batch_path
        self._session = session()
        self._generation = -1

    def __enter__(self) -> Runner:
        try:
            self._batch = self._batch_path.open("rb")
        except FileNotFoundError as error:
            raise _gone() from error
        self._session.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._session.__exit__(*error)
        self._batch.close()

    def run_rows(self, version: RunnableVersion, start: int, stop: int) -> tuple[NDArray[np.float32], float]:
        """(stop - start, C) float32 log-probabilities in the version's label order, and the seconds of the forward passes."""
        reply = self._call("run_rows", version.places, version.document | {"start": start, "stop": stop})
        rows = reply.arrays.get("log_probs")
        if rows is None or rows.shape != (stop - start, len(version.spec["labels"])) or rows.dtype != np.float32:
            raise ExecutionFailed("The model gave no result of the expected shape.", detail=f"Rows {start} to {stop}.", fix="Try again.")
        return rows, float(reply.meta["seconds"])

    def make_plan(self, versions: Sequence[RunnableVersion], document: Mapping[str, Any]) -> Reply:
        """Plan many versions on the loaded samples (work/planned.py). document: samples, options, cost, plan."""
        models = [{"spec": version.spec, "program": version.program} for version in versions]
        places = {place["key"]: place for version in versions for place in version.places}
        return self._call("make_plan", list(places.values()), {"models": models, **document})

    def run_plan(self, begin: Mapping[str, Any] | None, seconds: float) -> Reply:
        """Begin or go on with the plan of this session. Raises PlanGone when the child that held it has died."""
        if not self._loaded:
            raise PlanGone
        return self._session.call("run_plan", {"begin": begin, "seconds": seconds})

    def try_model(self, version: RunnableVersion) -> dict[str, float]:
        """latency_ms per sample and memory_bytes. Raises when shape, labels or values do not fit."""
        return dict(self._call("try_model", version.places, version.document).meta)

    def footprint(self, version: RunnableVersion) -> object:
        """What a version takes by itself (work/footprints.py), for inputs as long as those of the loaded samples; unchecked."""
        self._ensure_loaded()
        return asked_footprint(self._session, version.document)

    def sign_reference(self, labels: NDArray[np.int64] | None, log_probs: NDArray[np.float32], n_labels: int) -> Reply:
        """The behaviour signature of a model on the loaded batch (work/samples.py)."""
        self._ensure_loaded()
        arrays: dict[str, NDArray[Any]] = {"log_probs": log_probs}
        if labels is not None:
            arrays["labels"] = labels
        return self._session.call("sign_reference", {"n_labels": n_labels}, arrays)

    def _call(self, job: str, places: Sequence[Mapping[str, Any]], meta: Mapping[str, Any]) -> Reply:
        """Call a job that reads tensors at these places."""
        self._ensure_loaded()
        with contextlib.ExitStack() as stack:
            packs = sorted({place["pack"] for place in places})
            fds = [(pack, stack.enter_context(store().open_pack(pack)).fileno()) for pack in packs]
            return self._session.call(job, {**meta, "places": list(places)}, files=fds)

    @property
    def _loaded(self) -> bool:
        """Whether the child that was given the samples is still there."""
        return self._session.generation == self._generation and self._session.alive

    def _ensure_loaded(self) -> None:
        if self._loaded:
            return
        self._session.call("load_samples", files=[("batch", self._batch.fileno())])
        self._generation = self._session.generation


def try_without_samples(version: RunnableVersion) -> dict[str, float]:
    """As Runner.try_model, on made-up samples."""
    packs = sorted({place["pack"] for place in version.places})
    with session() as child, contextlib.ExitStack() as stack:
        fds = [(pack, stack.enter_context(store().open_pack(pack)).fileno()) for pack in packs]
        return dict(child.call("try_model", version.document | {"places": list(version.places)}, files=fds).meta)


def footprint_without_samples(version: RunnableVersion) -> object:
    """As Runner.footprint, for made-up samples."""
    with session() as child:
        return asked_footprint(child, version.document)


def asked_footprint(child: Session, document: Mapping[str, Any]) -> object:
    """What a program takes by itself, as the child says; unchecked. document: of `RunnableVersion`."""
    return child.call("model_footprint", document).meta["footprint"]


def _gone() -> UnreadableSamples:
    return UnreadableSamples(
        "The samples are gone.", detail="They were deleted, or their retention date has passed.", fix="Upload them again."
    )


@contextlib.contextmanager
def _staging() -> Iterator[BinaryIO]:
    """An unnamed file on the data disk: it goes with its last descriptor, also after a crash."""
    with tempfile.TemporaryFile(dir=settings.DATA_DIR) as file:
        yield file


@contextlib.contextmanager
def _opened(files: Files) -> Iterator[list[tuple[str, int]]]:
    with contextlib.ExitStack() as stack:
        yield [(name, stack.enter_context(path.open("rb")).fileno()) for name, path in files]


def _bytes(staging: BinaryIO, reply: Reply, name: str) -> bytes:
    place = _place(reply, name)
    return os.pread(staging.fileno(), place.nbytes, place.offset) if place.nbytes < 2**30 else _mapped(staging, place).tobytes()


def _array(staging: BinaryIO, reply: Reply, name: str, dtype: str) -> NDArray[Any]:
    """A staged table with one row for each sample. Raises ExecutionFailed for another shape or type."""
    place = _place(reply, name)
    if place.dtype != dtype or len(place.shape) != 2 or place.shape[0] != reply.meta.get("n", place.shape[0]):
        raise ExecutionFailed("The sandboxed process did not behave.", detail=f"{name}: {place.dtype} {place.shape}.", fix="Try again.")
    return np.frombuffer(_bytes(staging, reply, name), {"F16": "<f2", "U8": "u1"}[dtype]).reshape(place.shape)


def _place(reply: Reply, name: str) -> StagedTensor:
    place = reply.staged.get(name)
    if place is None:
        raise ExecutionFailed("The sandboxed process did not behave.", detail=f"It gave no {name}.", fix="Try again.")
    return place


def _mapped(staging: BinaryIO, place: StagedTensor) -> memoryview:
    mapped = mmap.mmap(staging.fileno(), 0, access=mmap.ACCESS_COPY)
    return memoryview(mapped)[place.offset : place.offset + place.nbytes]


def _tensor(staging: BinaryIO, place: StagedTensor) -> torch.Tensor:
    """A private view of the staging file; nothing is copied before the store writes it, save what is not aligned."""
    dtype = DTYPES[place.dtype]
    if place.nbytes == 0:
        return torch.zeros(place.shape, dtype=dtype)
    raw = np.frombuffer(_mapped(staging, place), np.uint8)
    flat = torch.from_numpy(raw.copy() if place.offset % 64 else raw)
    return flat.view(dtype).reshape(place.shape)
