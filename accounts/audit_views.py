"""The audit log: who changed what, before and after."""

from __future__ import annotations

from datetime import datetime, time, timedelta

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from accounts.access import audit_for_user
from accounts.forms import AuditFilter
from accounts.models import AuditEvent, Role, User
from accounts.paging import page_by_id


@login_required
@require_GET
def audit_log(request: HttpRequest) -> HttpResponse:
    """Everything for staff, their own teams for team admins; 403 for everybody else."""
    user = request.user
    assert isinstance(user, User)
    if not user.is_staff and not user.teams_with_role(Role.ADMIN).exists():
        raise PermissionDenied("The audit log is for operators and team admins.")
    form = AuditFilter(request.GET)
    events = audit_for_user(user)
    if form.is_valid():
        events = _narrow(events, form)
    page = page_by_id(events, request.GET)
    filtered = any(request.GET.get(name) for name in form.fields)
    context = {"form": form, "page": page, "filtered": filtered, "nav": "operate" if user.is_staff else "", "tab": "audit"}
    return render(request, "accounts/audit.html", context, status=400 if form.errors else 200)


def _narrow(events: QuerySet[AuditEvent], form: AuditFilter) -> QuerySet[AuditEvent]:
    wanted = form.cleaned_data
    if wanted["actor"]:
        events = events.filter(actor_name__iexact=wanted["actor"].strip())
    if wanted["action"]:
        events = events.filter(action__startswith=wanted["action"].strip())
    if wanted["team"]:
        events = events.filter(team__slug=wanted["team"].strip())
    zone = timezone.get_current_timezone()
    if wanted["since"]:
        events = events.filter(at__gte=datetime.combine(wanted["since"], time.min, zone))
    if wanted["until"]:
        events = events.filter(at__lt=datetime.combine(wanted["until"] + timedelta(days=1), time.min, zone))
    return events
