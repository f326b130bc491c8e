"""Versions of a model: list and comparison, one version's progress and state, and what can be done with it."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from accounts.sizes import size_text
from accounts.templatetags.units import size
from catalog import services
from catalog.access import version_for_user, versions_for_user
from catalog.downloads import original
from catalog.models import ModelVersion, ReferenceSample, RegisteredModel, Signature, VersionState
from catalog.requests import person, say_error
from catalog.services.reviews import may_review
from catalog.services.versions import version_jobs
from catalog.storage import incoming_folder
from catalog.templatetags.catalog_format import compact, milliseconds, percent
from catalog.views.models import model_context
from gpuworker.core.errors import UserError

STEPS = (
    ("model", gettext_lazy("Read the file")),
    ("trial", gettext_lazy("Trial batch")),
    ("signature", gettext_lazy("Behaviour signature")),
)


@dataclass(frozen=True, slots=True)
class FactRow:
    label: str
    left: str
    right: str

    @property
    def differs(self) -> bool:
        return self.left != self.right


@login_required
def version_list(request: HttpRequest, team: str, name: str) -> HttpResponse:
    """All versions this person may see; ?a=1&b=2 compares two."""
    context = model_context(request, team, name, "version_list")
    model = context["model"]
    assert isinstance(model, RegisteredModel)
    versions = list(
        versions_for_user(person(request), model)
        .select_related("signature")
        .defer("program", "spec", "signature__arrays")
        .prefetch_related("aliases")
    )
    chosen = {str(version.number): version for version in versions}
    left, right = chosen.get(request.GET.get("a", "")), chosen.get(request.GET.get("b", ""))
    context |= {"versions": versions, "a": left, "b": right, "comparison": _compare(left, right) if left and right else []}
    return render(request, "catalog/version_list.html", context)


def _compare(left: ModelVersion, right: ModelVersion) -> list[FactRow]:
    rows = zip(_facts(left), _facts(right), strict=True)
    return [FactRow(label, value, other) for (label, value), (_, other) in rows]


def _facts(version: ModelVersion) -> list[tuple[str, str]]:
    signature: Signature | None = getattr(version, "signature", None)
    operators = version.facts.get("operators", {})
    return [
        (_("State"), version.get_state_display()),
        (_("Format"), version.get_format_display()),
        (_("Architecture"), version.architecture or "–"),
        (_("Parameters"), compact(version.parameters)),
        (_("File size"), size(version.size_bytes)),
        (_("Tensor bytes"), size(version.tensor_bytes)),
        (_("Latency per sample"), milliseconds(version.latency_ms)),
        (_("Memory"), size(version.memory_bytes)),
        (_("Operators"), _("%(n)d of %(kinds)d kinds") % {"n": sum(operators.values()), "kinds": len(operators)}),
        (_("Labels"), ", ".join(version.labels[:20])),
        (_("Self-reported accuracy"), percent(signature.accuracy) if signature else "–"),
        (_("Program"), version.program_hash[:12] or "–"),
    ]


@login_required
def version_detail(request: HttpRequest, team: str, name: str, number: int) -> HttpResponse:
    """One version. While it is being checked the page asks for itself every two seconds."""
    user = person(request)
    version = version_for_user(user, team, name, number)
    context = model_context(request, team, name, "version_list")
    signature = Signature.objects.defer("arrays").filter(version=version).first()
    done = {step["key"]: step for step in version.checks}
    job = version_jobs(version).first()
    checking = version.state == VersionState.CHECKING
    context |= {
        "version": version,
        "signature": signature,
        "reference": ReferenceSample.objects.filter(version=version).first(),
        "reviews": version.reviews.select_related("reviewer"),
        "job": job,
        "checking": checking,
        "stuck": checking and (job is None or not job.is_live),
        "steps": [(label, done.get(key)) for key, label in STEPS],
        "can_recheck": context["can_edit"]
        and (version.state == VersionState.REJECTED or (checking and (job is None or not job.is_live)))
        and incoming_folder(version.pk).is_dir(),
        "can_review": version.state == VersionState.IN_REVIEW and may_review(user, version),
        "aliases": version.aliases.all(),
    }
    return render(request, "catalog/version_detail.html", context)


@login_required
@require_POST
def version_submit(request: HttpRequest, team: str, name: str, number: int) -> HttpResponse:
    version = version_for_user(request.user, team, name, number, edit=True)
    try:
        services.version_submit(version=version, actor=person(request), comment=request.POST.get("comment", "")[:4000])
        messages.success(request, _("Sent into review."))
    except UserError as error:
        say_error(request, error)
    return redirect(version)


@login_required
@require_POST
def version_archive(request: HttpRequest, team: str, name: str, number: int) -> HttpResponse:
    version = version_for_user(request.user, team, name, number, edit=True)
    try:
        services.version_archive(version=version, actor=person(request))
        messages.success(request, _("Archived: searches no longer consider this version."))
    except UserError as error:
        say_error(request, error)
    return redirect(version)


@login_required
@require_POST
def reference_withdraw(request: HttpRequest, team: str, name: str, number: int) -> HttpResponse:
    version = version_for_user(request.user, team, name, number, edit=True)
    if not ReferenceSample.objects.filter(version=version).exists():
        raise Http404("This version has no reference sample.")
    freed = services.reference_withdraw(version=version, actor=person(request))
    messages.success(request, _("Withdrawn: the kept rows are deleted, %(size)s freed.") % {"size": size_text(freed)})
    return redirect(version)


@login_required
def file_download(request: HttpRequest, team: str, name: str, number: int, file_id: int) -> FileResponse:
    """The original file, as uploaded."""
    return original(request.user, team, name, number, file_id)
