"""The curator's queue and decisions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from accounts.models import User
from catalog import services
from catalog.access import review_for_user
from catalog.forms import ReviewForm
from catalog.models import ModelVersion, RegisteredModel, Signature
from catalog.probes import Standing, standings
from catalog.requests import person, say_error
from catalog.services.reviews import OUTCOME, may_review
from gpuworker.core.errors import UserError

MOST_CARDS = 30
MOST_NEIGHBOURS = 3


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A version that computes the same, or shares tensors. shared: part of the card's tensors that it also uses, in [0, 1]."""

    version: ModelVersion
    same_program: bool
    shared: float


@dataclass(frozen=True, slots=True)
class Card:
    version: ModelVersion
    signature: Signature | None
    neighbours: list[Neighbour]
    may_decide: bool
    operators: int
    standing: Standing | None


@login_required
def review_queue(request: HttpRequest) -> HttpResponse:
    """Versions that wait for this curator, the longest waiting first."""
    user = person(request)
    if not user.is_curator:
        raise PermissionDenied("Only curators of a team have a queue.")
    waiting = (
        ModelVersion.objects.in_queue_of(user)
        .select_related("model__team", "created_by")
        .defer("program", "spec")
        .prefetch_related("files")
        .order_by("created")
    )
    shown = list(waiting[:MOST_CARDS])
    on_probes = standings(shown, user)
    cards = [_card(version, user, on_probes.get(version.pk)) for version in shown]
    return render(request, "catalog/review_queue.html", {"nav": "curate", "cards": cards, "total": waiting.count(), "most": MOST_CARDS})


def _card(version: ModelVersion, user: User, standing: Standing | None) -> Card:
    signature = Signature.objects.defer("arrays").filter(version=version).first()
    operators = sum(version.facts.get("operators", {}).values())
    return Card(version, signature, nearest(version, user), may_review(user, version), operators, standing)


def nearest(version: ModelVersion, user: User) -> list[Neighbour]:
    """Versions of other models this person may see that compute the same or share the most tensors."""
    keys = list(version.tensors.values_list("key", flat=True))
    others = ModelVersion.objects.filter(model__in=RegisteredModel.objects.visible_to(user)).exclude(model_id=version.model_id)
    share = Counter[int]()
    if keys:
        links = ModelVersion.tensors.through.objects.filter(tensor_id__in=keys, modelversion__in=others)
        share.update(links.values_list("modelversion_id", flat=True))
    same = set(others.filter(program_hash=version.program_hash).values_list("pk", flat=True)) if version.program_hash else set()
    best = [pk for pk, _ in share.most_common(MOST_NEIGHBOURS + len(same))]
    wanted = [*sorted(same), *(pk for pk in best if pk not in same)][:MOST_NEIGHBOURS]
    found = others.filter(pk__in=wanted).select_related("model__team").defer("program", "spec").in_bulk()
    return [Neighbour(found[pk], pk in same, share[pk] / len(keys) if keys else 0.0) for pk in wanted if pk in found]


@login_required
@require_POST
def review_decide(request: HttpRequest, team: str, name: str, number: int) -> HttpResponse:
    version = review_for_user(request.user, team, name, number)
    form = ReviewForm(request.POST)
    if not form.is_valid():
        messages.error(request, _("Choose approve, ask for changes or reject."))
        return redirect("catalog:review_queue")
    try:
        services.review_decide(
            version=version, decision=form.cleaned_data["decision"], reason=form.cleaned_data["reason"], actor=person(request)
        )
        outcome = OUTCOME[form.cleaned_data["decision"]]
        messages.success(request, _("%(version)s %(outcome)s. Its author is told.") % {"version": version, "outcome": outcome})
    except UserError as error:
        say_error(request, error)
    return redirect("catalog:review_queue")
