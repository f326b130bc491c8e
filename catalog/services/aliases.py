"""Movable names for versions."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from accounts.models import User, audit
from catalog.errors import WrongState
from catalog.models import Alias, ModelVersion, RegisteredModel, VersionState

NAMEABLE = (VersionState.READY, VersionState.IN_REVIEW, VersionState.PUBLISHED)


@transaction.atomic
def alias_set(*, model: RegisteredModel, name: str, version: ModelVersion, actor: User) -> Alias:
    """Give an alias to a version, taking it from another. Raises WrongState for a version that has not passed the checks."""
    if version.model_id != model.pk or version.state not in NAMEABLE:
        raise WrongState(
            f"{version} cannot have an alias.",
            detail=f"It is {version.get_state_display().lower()}.",
            fix="Choose a version that has passed the checks.",
        )
    before = Alias.objects.select_for_update().filter(model=model, name=name).select_related("version").first()
    alias, _ = Alias.objects.update_or_create(model=model, name=name, defaults={"version": version, "moved": timezone.now()})
    audit(
        "alias.set",
        alias,
        actor=actor,
        team=model.team,
        before={"version": before.version.number if before else None},
        after={"version": version.number},
    )
    return alias


@transaction.atomic
def alias_delete(*, alias: Alias, actor: User) -> None:
    audit("alias.delete", alias, actor=actor, team=alias.model.team, before={"version": alias.version.number})
    alias.delete()
