"""Changing a model: details, aliases, deletion and restoring."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from accounts.sizes import size_text
from catalog import services
from catalog.access import model_for_user, versions_for_user
from catalog.forms import AliasForm, DetailsForm
from catalog.models import RegisteredModel
from catalog.requests import person, say_error
from catalog.services.models import RESTORE_WINDOW
from catalog.views.models import model_context
from gpuworker.core.errors import UserError


@login_required
def model_settings(request: HttpRequest, team: str, name: str) -> HttpResponse:
    context = model_context(request, team, name, "model_settings", edit=True)
    model = context["model"]
    assert isinstance(model, RegisteredModel)
    form = DetailsForm(request.POST or None, initial=DetailsForm.initial_of(model))
    if request.method == "POST" and form.is_valid():
        services.model_update(model=model, details=form.details(), actor=person(request))
        messages.success(request, _("Saved."))
        return redirect("catalog:model_settings", team, name)
    context |= {
        "form": form,
        "aliases": model.aliases.select_related("version"),
        "versions": versions_for_user(person(request), model),
        "reclaimable": services.reclaimable_bytes(model),
        "restore_days": RESTORE_WINDOW.days,
    }
    return render(request, "catalog/model_settings.html", context, status=422 if request.method == "POST" else 200)


@login_required
@require_POST
def alias_set(request: HttpRequest, team: str, name: str) -> HttpResponse:
    model = model_for_user(request.user, team, name, edit=True)
    form = AliasForm(request.POST)
    if not form.is_valid():
        messages.error(request, _("An alias needs a name of letters, digits and hyphens, and a version number."))
        return redirect("catalog:model_settings", team, name)
    version = versions_for_user(person(request), model).filter(number=form.cleaned_data["number"]).first()
    if version is None:
        raise Http404("No such version.")
    try:
        services.alias_set(model=model, name=form.cleaned_data["name"], version=version, actor=person(request))
        messages.success(request, _("%(alias)s now means version %(n)d.") % {"alias": form.cleaned_data["name"], "n": version.number})
    except UserError as error:
        say_error(request, error)
    return redirect("catalog:model_settings", team, name)


@login_required
@require_POST
def alias_delete(request: HttpRequest, team: str, name: str, alias: str) -> HttpResponse:
    model = model_for_user(request.user, team, name, edit=True)
    services.alias_delete(
        alias=get_object_or_404(model.aliases.select_related("model__team", "version"), name=alias), actor=person(request)
    )
    messages.success(request, _("The alias %(alias)s is gone.") % {"alias": alias})
    return redirect("catalog:model_settings", team, name)


@login_required
@require_POST
def model_delete(request: HttpRequest, team: str, name: str) -> HttpResponse:
    model = model_for_user(request.user, team, name, edit=True)
    services.model_delete(model=model, actor=person(request))
    messages.success(request, _("%(model)s is deleted. It can be restored for %(n)d days.") % {"model": model, "n": RESTORE_WINDOW.days})
    return redirect("catalog:deleted_list")


@login_required
def deleted_list(request: HttpRequest) -> HttpResponse:
    """Deleted models that this person may restore or purge, with what purging would free."""
    models = RegisteredModel.objects.deleted_of(person(request)).select_related("team").order_by("-deleted")[:100]
    rows = [(model, services.reclaimable_bytes(model), model.deleted + RESTORE_WINDOW) for model in models if model.deleted]
    return render(request, "catalog/deleted_list.html", {"nav": "models", "rows": rows, "restore_days": RESTORE_WINDOW.days})


@login_required
@require_POST
def model_restore(request: HttpRequest, team: str, name: str) -> HttpResponse:
    model = model_for_user(request.user, team, name, deleted=True)
    services.model_restore(model=model, actor=person(request))
    messages.success(request, _("%(model)s is back.") % {"model": model})
    return redirect(model)


@login_required
@require_POST
def model_purge(request: HttpRequest, team: str, name: str) -> HttpResponse:
    model = model_for_user(request.user, team, name, deleted=True)
    label = str(model)
    freed = services.model_purge(model=model, actor=person(request))
    messages.success(request, _("%(model)s is gone for good: %(size)s freed.") % {"model": label, "size": size_text(freed)})
    return redirect(reverse("catalog:deleted_list"))
