"""Deleting one search with all that hangs on it."""

from __future__ import annotations

from django.db import transaction

from accounts.models import User, audit
from gpuworker.core.errors import UserError
from search.labelling_probes import gifts_abandon
from search.models import Search, SearchState


class StillRunning(UserError):
    """A live search cannot be deleted."""

    code = "still_running"


@transaction.atomic
def search_delete(*, search: Search, actor: User) -> None:
    """Delete a search that has ended, with its predictions, events and reports; the sample set stays, and so do labelled samples that
    were given to a probe set."""
    if search.is_live:
        raise StillRunning("The search is still running.", fix="Stop it first, then delete it.")
    audit("search.delete", search, actor=actor, before={"name": search.name, "state": SearchState(search.state).label})
    gifts_abandon(searches=Search.objects.filter(pk=search.pk), actor=actor)
    search.delete()
