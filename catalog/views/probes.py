"""The pages of probe sets, and whose searches may use them."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from accounts.access import team_for_user
from accounts.models import Role
from accounts.sizes import size_text
from catalog import services
from catalog.access import labelled_slice_for_user, probe_set_for_user
from catalog.calibrations import PROMISED, calibrations
from catalog.probe_models import ProbeSlice
from catalog.probes import probe_sets
from catalog.requests import person

MOST_CLASSES = 20
MOST_MODELS = 200


@login_required
def probe_set_list(request: HttpRequest) -> HttpResponse:
    """The probe sets that this person's searches may use; ?team= narrows."""
    team = request.GET.get("team", "").replace("\0", "")
    return render(request, "catalog/probe_set_list.html", {"nav": "models", "rows": probe_sets(person(request), team=team), "team": team})


@login_required
def probe_set(request: HttpRequest, team: str, key: str) -> HttpResponse:
    """What a set holds, who gave it, how far the models have answered, and what it does for the ranking."""
    detail = probe_set_for_user(request.user, team, key)
    context = {
        "nav": "models",
        "detail": detail,
        "row": detail.row,
        "labels": detail.labels[:MOST_CLASSES],
        "most_classes": MOST_CLASSES,
        "class_slice": f":{MOST_CLASSES}",
        "models": detail.models[:MOST_MODELS],
        "most_models": MOST_MODELS,
    }
    return render(request, "catalog/probe_set.html", context)


@login_required
@require_POST
def labelled_withdraw(request: HttpRequest, team: str, key: str, pk: int) -> HttpResponse:
    """Who gave labelled samples, or a curator of the team, takes them out of the probe set."""
    piece = labelled_slice_for_user(request.user, team, key, pk)
    freed = services.labelled_slice_withdraw(piece=piece, actor=person(request))
    messages.success(request, _("Withdrawn: the kept rows are deleted, %(size)s freed.") % {"size": size_text(freed)})
    left = ProbeSlice.objects.open_to(person(request)).filter(team__slug=team, set_key=key).exists()
    return redirect("catalog:probe_set", team, key) if left else redirect("catalog:probe_set_list")


@login_required
@require_POST
def probe_share(request: HttpRequest, team: str) -> HttpResponse:
    """A team's admin lets everybody's searches use its probes, or only its members'."""
    found = team_for_user(request.user, team, role=Role.ADMIN)
    public = request.POST.get("public") == "1"
    services.probe_sharing_set(team=found, public=public, actor=person(request))
    if public:
        messages.success(request, _("Everybody's searches may use the probes of %(team)s now.") % {"team": found})
    else:
        messages.success(request, _("Only searches of its members use the probes of %(team)s now.") % {"team": found})
    return redirect("catalog:probe_set_list")


@login_required
def calibration_list(request: HttpRequest) -> HttpResponse:
    """How often the intervals held, per family of data: for those whose probes this person's searches may use, operators see all."""
    found = calibrations(person(request))
    return render(
        request, "catalog/probe_calibrations.html", {"nav": "operate", "tab": "calibration", "families": found, "promised": PROMISED}
    )
