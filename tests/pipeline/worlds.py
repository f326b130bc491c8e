"""Published tiny models and a checked sample set, made by the ordinary services, for tests of whole searches."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from django.db import close_old_connections, connection
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from accounts.models import Team, User, Visibility
from catalog.models import ModelVersion, RegisteredModel, VersionState
from gpuworker.pipeline.lease import Lease, run_job
from gpuworker.pipeline.sandboxed import RunnableVersion, Runner
from gpuworker.tasks import WORK
from jobs.models import Job, JobState
from jobs.services import job_cancel
from search.models import Candidate, PredictionChunk, SampleSet, Search
from search.samplesets import sampleset_create
from search.services import search_start
from tests.catalog.makers import LABELS, SIDE, check, image_spec, make_model, make_version, onnx_bytes, reference_bytes, upload
from uploads.models import Purpose

PIXELS = SIDE * SIDE
COMPARED = [
    "state",
    "position",
    "prior_rank",
    "prior_scores",
    "scores",
    "predicted",
    "low",
    "high",
    "why",
    "p_best",
    "rank_from",
    "rank_to",
]


def weights(seed: int, noise: float = 0.3) -> NDArray[np.float32]:
    """(16, 3): models of one world share a direction, so that they mostly agree."""
    base = np.random.default_rng(5).normal(size=(PIXELS, len(LABELS)))
    return (base + noise * np.random.default_rng(seed).normal(size=base.shape)).astype(np.float32)


def published(
    team: Team, owner: User, name: str, content: bytes | None = None, *, labels: list[str] | None = None, reference: bytes | None = None
) -> ModelVersion:
    """A version that passed its check in the real sandbox and is its model's published one."""
    model = make_model(team, owner, name, visibility=Visibility.TEAM, licence="MIT")
    content = content if content is not None else onnx_bytes(weights=weights(len(name)))
    version = check(make_version(model, owner, content, spec=image_spec(labels), reference=reference or reference_bytes()))
    assert version.state == VersionState.READY, f"{version.error_title} {version.error_detail}"
    ModelVersion.objects.filter(pk=version.pk).update(state=VersionState.PUBLISHED)
    RegisteredModel.objects.filter(pk=model.pk).update(published_version=version)
    version.refresh_from_db()
    return version


def graph(nodes: list[NodeProto], **initial: NDArray[Any]) -> bytes:
    """An ONNX model from `x` (n, 16) to `logits` (n, 3)."""
    made = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", PIXELS])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", len(LABELS)])],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in initial.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def nan_on_bright() -> bytes:
    """Fine on dark images, NaN where a pixel is brighter than half."""
    return graph(
        [
            helper.make_node("Sub", ["half", "x"], ["rest"]),
            helper.make_node("Sqrt", ["rest"], ["root"]),
            helper.make_node("MatMul", ["root", "w"], ["logits"]),
        ],
        half=np.array(0.55, np.float32),
        w=weights(1),
    )


def wide(side: int) -> bytes:
    """Holds 4 side^2 bytes per row while it runs."""
    return graph(
        [
            helper.make_node("MatMul", ["x", "up"], ["h"]),
            helper.make_node("Unsqueeze", ["h", "last"], ["a"]),
            helper.make_node("Unsqueeze", ["h", "middle"], ["b"]),
            helper.make_node("Mul", ["a", "b"], ["square"]),
            helper.make_node("ReduceMean", ["square"], ["m"], axes=[2], keepdims=0),
            helper.make_node("MatMul", ["m", "down"], ["logits"]),
        ],
        up=np.random.default_rng(0).normal(size=(PIXELS, side)).astype(np.float32) / side,
        down=np.random.default_rng(1).normal(size=(side, len(LABELS))).astype(np.float32),
        last=np.array([2], np.int64),
        middle=np.array([1], np.int64),
    )


def slow(side: int) -> bytes:
    """2 side^3 multiplications per row."""
    return graph(
        [
            helper.make_node("MatMul", ["x", "up"], ["h"]),
            helper.make_node("Unsqueeze", ["h", "last"], ["a"]),
            helper.make_node("Mul", ["a", "big"], ["square"]),
            helper.make_node("MatMul", ["square", "big"], ["product"]),
            helper.make_node("ReduceMean", ["product"], ["m"], axes=[2], keepdims=0),
            helper.make_node("MatMul", ["m", "down"], ["logits"]),
        ],
        up=np.random.default_rng(0).normal(size=(PIXELS, side)).astype(np.float32) / side,
        big=np.random.default_rng(2).normal(size=(side, side)).astype(np.float32) / side,
        down=np.random.default_rng(1).normal(size=(side, len(LABELS))).astype(np.float32),
        last=np.array([2], np.int64),
    )


def images(n: int, seed: int = 11, high: int = 256) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.random.default_rng(seed).integers(0, high, (n, SIDE, SIDE), dtype=np.uint8))
    return buffer.getvalue()


def dark_reference(n: int = 60) -> bytes:
    buffer = io.BytesIO()
    rng = np.random.default_rng(2)
    x = rng.integers(0, 120, (n, SIDE, SIDE), dtype=np.uint8)
    np.savez(buffer, x=x, y=rng.integers(0, 3, n), label_names=np.array(LABELS))
    return buffer.getvalue()


def sample_set(owner: User, n: int, *, content: bytes | None = None) -> SampleSet:
    made = sampleset_create(
        owner=owner, name="Shots", uploads=[upload(owner, "x.npz", content or images(n), Purpose.SAMPLES).pk], modality="image"
    )
    run_check(made)
    made.refresh_from_db()
    assert made.n == n, f"{made.error_title} {made.error_detail}"
    return made


def run_check(made: SampleSet) -> Job:
    return work(Job.objects.get(kind="search.sampleset_check", subject_id=made.pk, state="queued"))


def work(job: Job) -> Job:
    """What a worker does with the message of a queued job."""
    run_job(job.pk, job.attempt, *WORK[job.kind])
    job.refresh_from_db()
    return job


@contextmanager
def taking_jobs() -> Iterator[None]:
    """Takes jobs as they come, as a worker process would; at the end what is still live is cancelled."""
    ended = threading.Event()

    def take() -> None:
        while not ended.wait(0.05):
            for job in Job.objects.filter(state=JobState.QUEUED).order_by("pk"):
                work(job)
            close_old_connections()
        connection.close()

    thread = threading.Thread(target=take)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        for job in Job.objects.live():
            job_cancel(job=job)
        thread.join()


def queued(found: Search) -> Job:
    return Job.objects.get(kind="search.run", subject_id=found.pk, state=JobState.QUEUED)


def searched(owner: User, samples_: SampleSet, **more: Any) -> Search:
    """A search that ran undisturbed."""
    found = search_start(owner=owner, sample_set=samples_, **more)
    assert work(queued(found)).state == JobState.SUCCEEDED
    found.refresh_from_db()
    return found


def board(found: Search) -> dict[str, Any]:
    """What two runs of the same question must agree on, by model name."""
    rows = {
        row.version.model.name: {name: getattr(row, name) for name in COMPARED} | {"done": row.samples_done}
        for row in Candidate.objects.filter(search=found).select_related("version__model")
    }
    verdict = {name: value for name, value in found.verdict.items() if name != "leaders"}
    return {"rows": rows, "verdict": verdict, "state": found.state}


def spans(candidate: Candidate) -> list[tuple[int, int]]:
    return list(PredictionChunk.objects.filter(candidate=candidate).order_by("start").values_list("start", "stop"))


class Killed(BaseException):
    """What a SIGKILL looks like from inside: nothing of ours may catch it."""


def kill_at_write(monkeypatch: pytest.MonkeyPatch, number: int, *, after: bool) -> None:
    """The process ends at the given write under a lease, before or after it commits."""
    real, writes = Lease.write, []

    @contextmanager
    def dying(self: Lease, *, last: bool = False) -> Iterator[None]:
        writes.append(1)
        with real(self, last=last):
            yield
            if len(writes) == number and not after:
                raise Killed
        if len(writes) == number:
            raise Killed

    monkeypatch.setattr(Lease, "write", dying)


def interrupted(monkeypatch: pytest.MonkeyPatch, found: Search, number: int, *, after: bool) -> Job:
    """The job of a search whose worker was killed at the given write, queued again."""
    job = queued(found)
    with monkeypatch.context() as patch:
        kill_at_write(patch, number, after=after)
        with pytest.raises(Killed):
            run_job(job.pk, job.attempt, *WORK[job.kind])
    job.refresh_from_db()
    assert job.state == JobState.RUNNING and job.requeue()
    job.refresh_from_db()
    return job


class Calls(list[tuple[str, int, int]]):
    """(tensor keys, start, stop) of each forward pass asked of the sandbox; `before` runs ahead of each."""


def count_calls(monkeypatch: pytest.MonkeyPatch, before: Any = None) -> Calls:
    calls, real = Calls(), Runner.run_rows

    def run_rows(self: Runner, version: RunnableVersion, start: int, stop: int) -> Any:
        calls.append((" ".join(place["key"] for place in version.places), start, stop))
        if before is not None:
            before(self, len(calls))
        return real(self, version, start, stop)

    monkeypatch.setattr(Runner, "run_rows", run_rows)
    return calls
