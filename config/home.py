"""The first page: what is going on, and the one thing to do next."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.models import Role, User
from catalog.models import ModelVersion, RegisteredModel, VersionState
from search.models import SampleSet, Search
from search.views.samplesets import uploader_context

SHOWN = 6
OPEN_STATES = (VersionState.DRAFT, VersionState.CHECKING, VersionState.REJECTED, VersionState.READY, VersionState.IN_REVIEW)


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the first-run checklist."""

    label: str
    href: str
    done: bool


@login_required
def home(request: HttpRequest) -> HttpResponse:
    user = request.user
    assert isinstance(user, User)
    searches = list(Search.objects.owned_by(user).select_related("sample_set").order_by("-id")[:SHOWN])
    visible = RegisteredModel.objects.visible_to(user)
    recent = visible.filter(published_version__isnull=False).select_related("team").order_by("-updated", "-id")[:SHOWN]
    mine = (
        ModelVersion.objects.filter(created_by=user, model__deleted=None, state__in=OPEN_STATES)
        .select_related("model__team")
        .defer("program", "spec")
    )
    steps = _steps(user, visible.exists(), bool(searches))
    context = {
        "nav": "home",
        "searches": searches,
        "models": list(recent),
        "drafts": list(mine.order_by("-id")[:SHOWN]),
        "waiting": ModelVersion.objects.in_queue_of(user).count(),
        "demos": SampleSet.objects.filter(demo=True).visible_to(user).order_by("id")[:3],
        "steps": steps if not all(step.done for step in steps) else [],
        **uploader_context(),
    }
    return render(request, "home.html", context)


def _steps(user: User, models: bool, searches: bool) -> list[Step]:
    published = ModelVersion.objects.filter(created_by=user).exists()
    steps = [
        Step(_("Look at the catalog"), reverse("catalog:model_list"), models),
        Step(_("Match a sample set: your own, or a demo one"), reverse("search:search_new"), searches),
    ]
    if user.teams_with_role(Role.PUBLISHER).exists():
        steps.append(Step(_("Publish a model of your own"), reverse("catalog:model_new"), published))
    return steps
