"""Runs inside an instance (`manage.py shell`): a person with a token and a session, a large sample set, more candidates."""

from __future__ import annotations

import hashlib
import io
import json
import time
from datetime import timedelta
from typing import Any

import numpy as np
import onnx
from django.conf import settings
from django.test import Client
from onnx import numpy_helper

from accounts.models import Scope, Team, User, Visibility
from accounts.services import token_create
from catalog.models import ModelVersion, RegisteredModel, Review, VersionState
from catalog.services.models import ModelDetails, model_create
from catalog.services.reviews import review_decide
from catalog.services.versions import Reference, version_create
from jobs.models import Worker
from search.models import SampleSet, SampleSetState
from search.samplesets import sampleset_create
from search.seeding import FILES, TEAM
from uploads.models import Purpose, Upload

VARIED = ("digits-linear", "digits-mlp", "digits-noisy-mlp")


def main(samples: int = 4000, variants: int = 2) -> None:
    """Prints {token, session, user, sample_set, small_set}."""
    demo = User.objects.get(username="demo")
    _, token = token_create(user=demo, name="faults", scopes=list(Scope.values), lifetime=timedelta(days=1))
    browser = Client()
    browser.force_login(demo)
    large = sample_set(demo, samples)
    publish_variants(demo, variants)
    wait(large)
    small = SampleSet.objects.filter(demo=True, modality="image").order_by("pk")[0]
    session = browser.cookies[settings.SESSION_COOKIE_NAME].value
    print(json.dumps({"token": token, "session": session, "user": demo.pk, "sample_set": large.pk, "small_set": small.pk}))


def first_samples() -> None:
    """On an instance without a seed: a person and a checked sample set. Prints the grade of the sandbox and the number of samples."""
    made = sample_set(User.objects.create_user("somebody"), 40)
    wait(made)
    print(Worker.objects.get().walls["grade"], made.n)


def upload(owner: User, name: str, content: bytes, purpose: str) -> Upload:
    row = Upload.objects.create(
        owner=owner, purpose=purpose, name=name, size=len(content), offset=len(content), sha256=hashlib.sha256(content).hexdigest()
    )
    row.path.parent.mkdir(parents=True, exist_ok=True)
    row.path.write_bytes(content)
    return row


def sample_set(owner: User, samples: int, name: str = "Many scans") -> SampleSet:
    """The demo's digits over and over, each time with other noise."""
    x = np.load(FILES / "night-camera.npz")["x"]
    rng = np.random.default_rng(7)
    many = np.clip(np.resize(x, (samples, *x.shape[1:])).astype(np.int64) + rng.integers(-20, 21, (samples, *x.shape[1:])), 0, 255)
    sent = upload(owner, "many.npz", _npz(x=many.astype(np.uint8)), Purpose.SAMPLES)
    return sampleset_create(owner=owner, name=name, uploads=[sent.pk], modality="image")


def publish_variants(owner: User, count: int) -> None:
    """More candidates: demo models with slightly other weights, published by the ordinary services."""
    manifest = {item["name"]: item for item in json.loads((FILES / "manifest.json").read_text())["models"]}
    made = [publish(owner, manifest[name], number) for name in VARIED for number in range(1, count + 1)]
    approve(made)


def publish(owner: User, item: dict[str, Any], number: int, *, name: str = "", references: int = 0) -> ModelVersion:
    """A demo model under another name, its weights moved a little. references: rows of the reference sample, 0 = as it comes."""
    name = name or f"{item['name']}-variant-{number}"
    details = ModelDetails(title=name, task=item["task"], licence=item["licence"], visibility=Visibility.PUBLIC)
    model = model_create(team=Team.objects.get(slug=TEAM), name=name, modality="image", details=details, actor=owner)
    reference = Reference([upload(owner, "reference.npz", _reference(item["reference"], references), Purpose.REFERENCE)])
    files = [upload(owner, "model.onnx", _moved(item["file"], number), Purpose.MODEL)]
    return version_create(model=model, files=files, spec=item["spec"], actor=owner, reference=reference, submit=True)


def start_check(references: int) -> None:
    """A version whose check takes a while, for tests that disturb it. Prints its id."""
    manifest = {item["name"]: item for item in json.loads((FILES / "manifest.json").read_text())["models"]}
    number = 100 + RegisteredModel.objects.count()
    made = publish(User.objects.get(username="demo"), manifest["digits-mlp"], number, references=references)
    print(made.pk)


def approve(versions: list[ModelVersion]) -> None:
    curator = User.objects.get(username="curator")
    for version in versions:
        wait(version)
        review_decide(version=version, decision=Review.Decision.APPROVE, reason="For a test.", actor=curator)


def wait(row: SampleSet | ModelVersion, seconds: float = 120) -> None:
    """Until its check has ended well."""
    deadline = time.monotonic() + seconds
    while row.state in (SampleSetState.CHECKING, VersionState.CHECKING):
        assert time.monotonic() < deadline, f"{row} is still {row.state}"
        time.sleep(0.1)
        row.refresh_from_db()
    assert row.state in (SampleSetState.READY, VersionState.IN_REVIEW), f"{row}: {row.error_title} {row.error_detail}"


def _moved(name: str, number: int) -> bytes:
    model = onnx.load(FILES / name)
    rng = np.random.default_rng(number)
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype == np.float32:
            noise = rng.normal(0, 0.02 * float(values.std() or 1), values.shape)
            weight.CopyFrom(numpy_helper.from_array((values + noise).astype(np.float32), weight.name))
    return model.SerializeToString()


def _reference(name: str, rows: int) -> bytes:
    content = (FILES / name).read_bytes()
    if not rows:
        return content
    with np.load(io.BytesIO(content)) as file:
        x, y, names = file["x"], file["y"], file["label_names"]
    order = np.resize(np.arange(len(x)), rows)
    noise = np.random.default_rng(3).integers(-9, 10, (rows, *x.shape[1:]))
    return _npz(x=np.clip(x[order].astype(np.int64) + noise, 0, 255).astype(np.uint8), y=y[order], label_names=names)


def _npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()
