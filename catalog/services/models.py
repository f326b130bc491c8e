"""Making, changing, deleting and restoring registered models, and the copied facts that lists and facets read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from typing import Any

from django.contrib.postgres.search import SearchVector
from django.db import IntegrityError, transaction
from django.db.models import Q, Value
from django.utils import timezone

from accounts.models import Team, User, Visibility, audit
from catalog.errors import NameTaken
from catalog.models import RegisteredModel
from catalog.services.probes import probe_runs_start

RESTORE_WINDOW = timedelta(days=14)
SEARCH_CONFIG = "english"


@dataclass(frozen=True, slots=True)
class ModelDetails:
    """What a person says about a model; the rest is measured."""

    title: str
    task: str
    summary: str = ""
    description: str = ""
    licence: str = ""
    visibility: str = Visibility.TEAM


@transaction.atomic
def model_create(*, team: Team, name: str, modality: str, details: ModelDetails, actor: User) -> RegisteredModel:
    """A model without versions. Raises NameTaken, also when a deleted model still holds the name."""
    try:
        with transaction.atomic():
            model = RegisteredModel.objects.create(team=team, owner=actor, name=name, modality=modality, **asdict(details))
    except IntegrityError as error:
        raise _name_taken(team, name) from error
    model_refresh(model=model)
    audit("model.create", model, actor=actor, team=team, after={"name": name, "modality": modality, **asdict(details)})
    return model


def _name_taken(team: Team, name: str) -> NameTaken:
    other = RegisteredModel.objects.get(team=team, name=name)
    if other.deleted:
        return NameTaken(
            f"{team.slug} has a deleted model named {name}.",
            detail=f"It can be restored until {other.deleted + RESTORE_WINDOW:%d %B %Y}.",
            fix="Restore it, purge it, or choose another name.",
        )
    return NameTaken(f"{team.slug} already has a model named {name}.", fix="Publish a new version of it, or choose another name.")


@transaction.atomic
def model_update(*, model: RegisteredModel, details: ModelDetails, actor: User) -> RegisteredModel:
    """Change what a person says about a model. Nothing is audited when nothing changed."""
    model = RegisteredModel.objects.select_for_update().select_related("team").get(pk=model.pk)
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for field in fields(details):
        old, new = getattr(model, field.name), getattr(details, field.name)
        if old != new:
            before[field.name], after[field.name] = old, new
            setattr(model, field.name, new)
    if after:
        model.updated = timezone.now()
        model.save(update_fields=[*after, "updated"])
        model_refresh(model=model)
        audit("model.update", model, actor=actor, team=model.team, before=before, after=after)
    return model


@transaction.atomic
def model_delete(*, model: RegisteredModel, actor: User) -> RegisteredModel:
    """Take a model out of sight. It can be restored for RESTORE_WINDOW; its bytes are reclaimed after that, or on purge."""
    model = RegisteredModel.objects.select_for_update().select_related("team").get(pk=model.pk)
    model.deleted = timezone.now()
    model.save(update_fields=["deleted"])
    audit("model.delete", model, actor=actor, team=model.team, after={"restorable_until": (model.deleted + RESTORE_WINDOW).isoformat()})
    return model


@transaction.atomic
def model_restore(*, model: RegisteredModel, actor: User) -> RegisteredModel:
    model = RegisteredModel.objects.select_for_update().select_related("team").get(pk=model.pk, purged=None)
    model.deleted = None
    model.save(update_fields=["deleted"])
    audit("model.restore", model, actor=actor, team=model.team)
    if model.published_version is not None:
        probe_runs_start(slices=Q(modality=model.modality, label_key=model.published_version.label_key))
    return model


def model_refresh(*, model: RegisteredModel) -> None:
    """Copy the facts of the published version to the model, and rebuild its full text. Call inside the change's transaction."""
    version = model.published_version
    signature = getattr(version, "signature", None) if version else None
    labels = version.labels if version else []
    RegisteredModel.objects.filter(pk=model.pk).update(
        architecture=version.architecture if version else "",
        parameters=version.parameters if version else None,
        size_bytes=version.size_bytes if version else None,
        latency_ms=version.latency_ms if version else None,
        accuracy=signature.accuracy if signature else None,
        n_labels=len(labels) if version else None,
        label_key=version.label_key if version else "",
        text=_vector(f"{model.title} {model.name}", "A")
        + _vector(f"{model.task} {' '.join(labels)}", "B")
        + _vector(f"{model.summary} {model.description}", "C"),
    )


def _vector(text: str, weight: str) -> SearchVector:
    return SearchVector(Value(text), weight=weight, config=SEARCH_CONFIG)
