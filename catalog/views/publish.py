"""Publishing: a new model, a further version, and correcting what the checks refused."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from accounts.models import User
from catalog import services
from catalog.access import model_for_user, version_for_user
from catalog.forms import PublishForm, VersionForm
from catalog.models import ModelVersion, RegisteredModel
from catalog.requests import person
from catalog.services.versions import Reference, format_of
from gpuworker.core.errors import UserError
from gpuworker.core.specs import FORMATS, MODALITIES
from uploads.access import uploads_for_user
from uploads.models import Purpose, Upload

MODEL_ENDINGS = ",".join(sorted({ending for spec in FORMATS.values() if spec.accepted for ending in (*spec.extensions, ".json")}))
SAMPLE_ENDINGS = ",".join(sorted({ending for spec in MODALITIES.values() for ending in spec.extensions}))


def _uploaders() -> dict[str, object]:
    return {
        "model_accept": MODEL_ENDINGS,
        "reference_accept": SAMPLE_ENDINGS,
        "max_bytes": settings.UPLOAD_MAX_BYTES,
        "refused": [spec for spec in FORMATS.values() if not spec.accepted],
    }


@login_required
def model_new(request: HttpRequest) -> HttpResponseBase:
    """A new model with its first version. Uploads survive a form that has to be corrected."""
    user = person(request)
    data = request.POST if request.method == "POST" else None
    form = PublishForm(user, data, initial={"team": user.personal_team.slug if hasattr(user, "personal_team") else None})
    problem: UserError | None = None
    if data is not None and form.is_valid():
        try:
            return redirect(_create(user, form, request))
        except UserError as error:
            problem = error
    context = {"nav": "models", "form": form, "problem": problem, "held": _held(user, request), **_uploaders()}
    return render(request, "catalog/model_new.html", context, status=422 if data is not None else 200)


@transaction.atomic
def _create(user: User, form: PublishForm, request: HttpRequest) -> ModelVersion:
    """Model and version together, so that a version that is refused leaves no empty model behind."""
    modality = form.cleaned_data["spec_document"]["modality"]
    model = services.model_create(
        team=form.cleaned_data["team"], name=form.cleaned_data["name"], modality=modality, details=form.details(), actor=user
    )
    return _create_version(user, model, form, request)


def _create_version(user: User, model: RegisteredModel, form: VersionForm, request: HttpRequest) -> ModelVersion:
    files = uploads_for_user(user, request.POST.getlist("model_files"), Purpose.MODEL)
    version = services.version_create(
        model=model,
        files=files,
        spec=form.cleaned_data["spec_document"],
        actor=user,
        reference=_reference(user, form, request),
        comment=form.cleaned_data["comment"],
        submit=form.cleaned_data["submit_for_review"],
    )
    messages.success(request, _("Uploaded. The checks run in the background; you may leave this page."))
    return version


def _reference(user: User, form: VersionForm, request: HttpRequest) -> Reference | None:
    uploads = uploads_for_user(user, request.POST.getlist("reference_files"), Purpose.REFERENCE)
    return Reference(uploads, form.cleaned_data["choice"], form.cleaned_data["reference_options"]) if uploads else None


def _held(user: User, request: HttpRequest) -> dict[str, list[Upload]]:
    """Uploads named in a form that has to be corrected, so that they need not be sent again."""
    held = {}
    for field, purpose in (("model_files", Purpose.MODEL), ("reference_files", Purpose.REFERENCE)):
        try:
            held[field] = uploads_for_user(user, request.POST.getlist(field), purpose)
        except UserError:
            held[field] = []
    return held


@login_required
def version_new(request: HttpRequest, team: str, name: str) -> HttpResponseBase:
    """A further version: the spec of the newest one is filled in."""
    user = person(request)
    model = model_for_user(user, team, name, edit=True)
    newest = model.versions.defer("program").first()
    data = request.POST if request.method == "POST" else None
    form = VersionForm(data, initial=VersionForm.initial_of_version(newest) | {"comment": ""} if newest else {"modality": model.modality})
    problem: UserError | None = None
    if data is not None and form.is_valid():
        try:
            with transaction.atomic():
                return redirect(_create_version(user, model, form, request))
        except UserError as error:
            problem = error
    context = {"nav": "models", "model": model, "form": form, "problem": problem, "held": _held(user, request), **_uploaders()}
    return render(request, "catalog/version_new.html", context, status=422 if data is not None else 200)


@login_required
def version_recheck(request: HttpRequest, team: str, name: str, number: int) -> HttpResponseBase:
    """Correct the spec or the reference sample of a rejected version; its model files stay."""
    user = person(request)
    version = version_for_user(user, team, name, number, edit=True)
    data = request.POST if request.method == "POST" else None
    form = VersionForm(data, initial=VersionForm.initial_of_version(version))
    problem: UserError | None = None
    if data is not None and form.is_valid():
        try:
            services.version_recheck(
                version=version, actor=user, spec=form.cleaned_data["spec_document"], reference=_reference(user, form, request)
            )
            return redirect(version)
        except UserError as error:
            problem = error
    context = {
        "nav": "models",
        "model": version.model,
        "version": version,
        "form": form,
        "problem": problem,
        "held": _held(user, request),
        **_uploaders(),
    }
    return render(request, "catalog/version_recheck.html", context, status=422 if data is not None else 200)


@login_required
@require_POST
def detect_files(request: HttpRequest) -> HttpResponse:
    """What the uploaded files look like from outside, for the publish page; opening them is the worker's task."""
    user = person(request)
    problem: UserError | None = None
    uploads: list[Upload] = []
    label = ""
    try:
        uploads = uploads_for_user(user, request.POST.getlist("model_files"), Purpose.MODEL)
        label = FORMATS[format_of(uploads)].label if uploads else ""
    except UserError as error:
        problem = error
    return render(request, "catalog/_detected.html", {"uploads": uploads, "format": label, "problem": problem})
