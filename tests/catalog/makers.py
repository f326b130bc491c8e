"""Small real models, uploads and catalog rows for tests."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
import torch
from django.utils import timezone
from onnx import TensorProto, helper, numpy_helper

from accounts.models import Team, User
from catalog import services
from catalog.cost_models import VersionCost
from catalog.labels import label_key
from catalog.models import ModelVersion, RegisteredModel, VersionState
from catalog.probe_models import ProbeAnswers, ProbeSlice
from catalog.probes import set_key
from catalog.services.models import ModelDetails, model_refresh
from catalog.services.versions import Reference
from gpuworker.pipeline import publish
from gpuworker.pipeline.lease import run_job
from jobs.models import Device, Job
from uploads.models import Purpose, Upload

LABELS = ["cat", "dog", "fox"]
SIDE = 4


def image_spec(labels: list[str] | None = None, **changes: Any) -> dict[str, Any]:
    """A flat 4 x 4 grey image to logits over cat, dog, fox."""
    return {
        "modality": "image",
        "input": {"height": SIDE, "width": SIDE, "channels": 1, "layout": "flat"},
        "output": {"kind": "logits"},
        "labels": labels or LABELS,
    } | changes


def onnx_bytes(classes: int = 3, seed: int = 0, scale: float = 1.0, weights: np.ndarray | None = None) -> bytes:
    """logits = x @ W + b on 16 numbers."""
    rng = np.random.default_rng(seed)
    w = (weights if weights is not None else rng.normal(size=(SIDE * SIDE, classes))).astype(np.float32) * np.float32(scale)
    b = np.zeros(w.shape[1], np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["logits"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", SIDE * SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", w.shape[1]])],
        [numpy_helper.from_array(w, "w"), numpy_helper.from_array(b, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="tests")
    return model.SerializeToString()


def pt2_bytes(classes: int = 3) -> bytes:
    """The same kind of model as a torch.export archive."""
    torch.manual_seed(0)
    program = torch.export.export(
        torch.nn.Linear(SIDE * SIDE, classes), (torch.zeros(2, SIDE * SIDE),), dynamic_shapes=({0: torch.export.Dim("n", min=1)},)
    )
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def reference_bytes(n: int = 60, seed: int = 1, labels: list[str] | None = None) -> bytes:
    """.npz with x (n, 4, 4) uint8, y and label_names."""
    rng = np.random.default_rng(seed)
    buffer = io.BytesIO()
    y = rng.integers(0, 3, n)
    x = rng.integers(0, 256, (n, SIDE, SIDE), dtype=np.uint8)
    np.savez(buffer, x=x, y=y, label_names=np.array(labels or LABELS))
    return buffer.getvalue()


def upload(owner: User, name: str, content: bytes, purpose: str = Purpose.MODEL) -> Upload:
    """A complete upload, as the tus endpoint leaves it."""
    row = Upload.objects.create(
        owner=owner, purpose=purpose, name=name, size=len(content), offset=len(content), sha256=hashlib.sha256(content).hexdigest()
    )
    row.path.parent.mkdir(parents=True, exist_ok=True)
    row.path.write_bytes(content)
    return row


def make_model(team: Team, owner: User, name: str = "shapes", **fields: Any) -> RegisteredModel:
    details = ModelDetails(**({"title": name.title(), "task": "animals"} | fields))
    return services.model_create(team=team, name=name, modality="image", details=details, actor=owner)


def make_version(
    model: RegisteredModel,
    actor: User,
    content: bytes | None = None,
    name: str = "model.onnx",
    spec: dict[str, Any] | None = None,
    reference: bytes | None = None,
    **more: Any,
) -> ModelVersion:
    """A version in `checking`, its job queued."""
    files = [upload(actor, name, content if content is not None else onnx_bytes())]
    sample = Reference([upload(actor, "ref.npz", reference, Purpose.REFERENCE)], **more.pop("choice", {})) if reference else None
    return services.version_create(model=model, files=files, spec=spec or image_spec(), actor=actor, reference=sample, **more)


def check(version: ModelVersion) -> ModelVersion:
    """Run the queued check here and now, as a worker would."""
    job = Job.objects.get(kind="catalog.version_check", subject_id=version.pk, state="queued")
    run_job(job.pk, job.attempt, publish.check_version, publish.version_ended)
    version.refresh_from_db()
    return version


def published_row(
    team: Team, owner: User, name: str, *, labels: list[str] | None = None, accuracy: float | None = None, **fields: Any
) -> RegisteredModel:
    """A published model as rows only, for lists: no file behind it."""
    names = ("title", "task", "summary", "description", "licence", "visibility")
    model = make_model(team, owner, name, **{key: fields.pop(key) for key in list(fields) if key in names})
    labels = labels or LABELS
    version = ModelVersion.objects.create(
        model=model,
        number=1,
        state=VersionState.PUBLISHED,
        published=timezone.now(),
        created_by=owner,
        format="onnx",
        spec=image_spec(labels),
        labels=labels,
        label_key=label_key(labels),
        **fields,
    )
    model.published_version = version
    model.save(update_fields=["published_version"])
    model_refresh(model=model)
    RegisteredModel.objects.filter(pk=model.pk).update(accuracy=accuracy)
    model.refresh_from_db()
    return model


def give_probes(version: ModelVersion, *, seed: int = 0, n: int = 60, answered: bool = True) -> ProbeSlice:
    """A slice as rows only: no file behind it, features that mean nothing. Rows of equal seeds are equal."""
    labels = np.arange(n) % len(version.labels)
    return ProbeSlice.objects.create(
        version=version,
        team=version.model.team,
        owner=version.model.owner,
        set_key=set_key("image", version.labels, {"modality": "image"}),
        modality="image",
        label_key=version.label_key,
        labels=version.labels,
        meta={"modality": "image"},
        n=n,
        encoder="image-probe/1",
        features=np.zeros((n, 4), "<f2").tobytes(),
        row_hashes=np.random.default_rng(seed).integers(0, 256, (n, 16), np.uint8).tobytes(),
        row_labels=labels.astype("<u2").tobytes(),
        size_bytes=n,
        given_by=version.created_by,
        answered=timezone.now() if answered else None,
    )


def give_labelled(team: Team, owner: User, like: ModelVersion, *, seed: int = 100, n: int = 20, samples: str = "ab" * 32) -> ProbeSlice:
    """A slice of labelled samples for the labels of a version, as rows only. samples: digest of the set they are of."""
    labels = np.arange(n) % len(like.labels)
    return ProbeSlice.objects.create(
        team=team,
        owner=owner,
        samples=samples,
        set_key=set_key("image", like.labels, {"modality": "image"}),
        modality="image",
        label_key=like.label_key,
        labels=like.labels,
        meta={"modality": "image"},
        n=n,
        encoder="image-probe/1",
        features=np.zeros((n, 4), "<f2").tobytes(),
        row_hashes=np.random.default_rng(seed).integers(0, 256, (n, 16), np.uint8).tobytes(),
        row_labels=labels.astype("<u2").tobytes(),
        size_bytes=n,
        given_by=owner,
        answered=timezone.now(),
    )


def answer_probes(version: ModelVersion, piece: ProbeSlice, right: int, **more: Any) -> ProbeAnswers:
    """Answers of which the first `right` are right."""
    labels = np.frombuffer(piece.row_labels, "<u2").astype(np.int64)
    said = np.where(np.arange(piece.n) < right, labels, (labels + 1) % len(piece.labels))
    log_probs = np.log(np.eye(len(piece.labels))[said] * 0.9 + 0.03).astype("<f2")
    fields = {"log_probs": log_probs.tobytes(), "judged": piece.n, "correct": right} | more
    return ProbeAnswers.objects.create(version=version, piece=piece, **fields)


def give_cost(version: ModelVersion, device: Device, ms: float, *, memory: int = 2_000_000, batch: float | None = None) -> VersionCost:
    """A prediction as rows only: half to double, and per sample in a batch a quarter unless told otherwise."""
    each = ms / 4 if batch is None else batch
    return VersionCost.objects.create(
        version=version,
        device=device,
        latency_ms=ms,
        low_ms=ms / 2,
        high_ms=ms * 2,
        batch_ms=each,
        batch_low_ms=each / 2,
        batch_high_ms=each * 2,
        memory_bytes=memory,
        batch_memory_bytes=2 * memory,
    )


def measured_device(name: str = "Small board, 1 thread", **fields: Any) -> Device:
    return Device.objects.create(name=name, cost={"curves": {}}, measured=timezone.now(), **fields)
