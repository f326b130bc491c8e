"""Rows for the web bench, made inside its instance (Django set up): 64 candidates, a token's worth of people, 10,000 models."""

from __future__ import annotations

import json
import random

from django.db import connection

from accounts.models import Team, User
from catalog.models import ModelVersion, RegisteredModel, VersionState
from catalog.probe_models import ProbeSlice
from catalog.services.models import model_refresh
from jobs.models import Job
from search import seeding

WORDS = ["red", "blue", "north", "sensor", "invoice", "retina", "engine", "street", "voice", "leaf"]


def more_candidates(count: int) -> None:
    """Publish the digit models again under other names, until there are `count` of them."""
    team, people = Team.objects.get(slug=seeding.TEAM), {user.username: user for user in User.objects.all()}
    digits = [item for item in json.loads((seeding.FILES / "manifest.json").read_text())["models"] if item["task"] == "digits"]
    for number in range(count - len(digits)):
        item = digits[number % len(digits)]
        copy = item | {"name": f"{item['name']}-{number}", "title": f"{item['title']} {number}"}
        seeding.publish(copy, team, people["demo"])
    for _ in seeding.until_done(ModelVersion.objects.filter(model__team=team), people):
        pass


def work_left() -> int:
    """Jobs that wait or run, and slices of probes that not every model has been run on: 0 once the catalog has settled."""
    return Job.objects.live().count() + ProbeSlice.objects.approved().filter(answered=None).count()


def fill_catalog(count: int) -> None:
    """`count` published models without tensors: lists and facets do not look at those."""
    owner, team, rng = User.objects.get(username="demo"), Team.objects.get(slug=seeding.TEAM), random.Random(0)
    template = ModelVersion.objects.filter(model__team=team, state=VersionState.PUBLISHED).first()
    assert template is not None
    models = RegisteredModel.objects.bulk_create(_model(number, owner, team, rng) for number in range(count))
    versions = ModelVersion.objects.bulk_create(
        ModelVersion(
            model=model, number=1, state=VersionState.PUBLISHED, created_by=owner, format="onnx", spec=template.spec, labels=template.labels
        )
        for model in models
    )
    for model, version in zip(models, versions, strict=True):
        model.published_version = version
    RegisteredModel.objects.bulk_update(models, ["published_version"], batch_size=1000)
    for model in models:
        model_refresh(model=model)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _model(number: int, owner: User, team: Team, rng: random.Random) -> RegisteredModel:
    return RegisteredModel(
        team=team,
        owner=owner,
        name=f"filler-{number}",
        title=" ".join(rng.sample(WORDS, 3)),
        task=rng.choice(WORDS),
        modality=rng.choice(["image", "text", "table"]),
        licence=rng.choice(["MIT", "Apache-2.0", ""]),
        visibility="public",
        architecture=rng.choice(["CNN", "MLP", "Transformer"]),
        parameters=rng.randrange(10**3, 10**8),
        size_bytes=rng.randrange(10**3, 10**8),
        accuracy=rng.random(),
        latency_ms=rng.random() * 50,
        n_labels=rng.randrange(2, 100),
        label_key=str(rng.randrange(20)),
    )
