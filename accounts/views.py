"""Settings: profile, API tokens, teams."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.access import team_for_user
from accounts.forms import MemberForm, ProfileForm, TeamForm, TokenForm
from accounts.models import ApiToken, Membership, Role, Team, User
from accounts.services import LastAdmin, membership_set, profile_save, team_create, token_create, token_revoke


@login_required
@require_http_methods(["GET", "POST"])
def profile(request: HttpRequest) -> HttpResponse:
    user = _person(request)
    form = ProfileForm(request.POST or None, instance=User.objects.get(pk=user.pk))
    if request.method == "POST" and form.is_valid():
        profile_save(user=form.save(commit=False))
        messages.success(request, _("Your profile was saved."))
        return redirect("accounts:settings")
    return render(request, "accounts/profile.html", {"form": form, "tab": "profile"}, status=400 if form.errors else 200)


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def tokens(request: HttpRequest) -> HttpResponse:
    """The list, and the form for a new token. Its text is in the answer to the POST and nowhere else."""
    user = _person(request)
    form = TokenForm(request.POST if request.method == "POST" else None, user=user)
    made, text = None, ""
    if request.method == "POST" and form.is_valid():
        made, text = token_create(user=user, name=form.cleaned_data["name"], scopes=form.cleaned_data["scopes"], lifetime=form.lifetime)
        form = TokenForm(user=user)
    page = {"form": form, "tokens": ApiToken.objects.of_user(user), "made": made, "text": text, "tab": "tokens"}
    return render(request, "accounts/tokens.html", page, status=201 if made else 400 if form.errors else 200)


@login_required
@require_POST
def token_delete(request: HttpRequest, pk: int) -> HttpResponse:
    user = _person(request)
    token = get_object_or_404(ApiToken, pk=pk, user=user)
    token_revoke(token=token, actor=user)
    messages.success(request, _("%(name)s is refused from now on.") % {"name": token.name})
    return redirect("accounts:tokens")


@login_required
@require_http_methods(["GET", "POST"])
def team_list(request: HttpRequest) -> HttpResponse:
    """The person's teams; a POST makes a new one."""
    user = _person(request)
    form = TeamForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        team = team_create(name=form.cleaned_data["name"], slug=form.cleaned_data["slug"], actor=user)
        messages.success(request, _("%(team)s was made. Add the people who work with you.") % {"team": team.name})
        return redirect("accounts:team_detail", team.slug)
    page = {"form": form, "memberships": Membership.objects.of_user(user), "tab": "teams"}
    return render(request, "accounts/team_list.html", page, status=400 if form.errors else 200)


@login_required
@require_GET
def team_detail(request: HttpRequest, slug: str) -> HttpResponse:
    team = team_for_user(_person(request), slug)
    return _team_page(request, team, MemberForm())


@login_required
@require_POST
def member_set(request: HttpRequest, slug: str) -> HttpResponse:
    """Add somebody by name, or change their role."""
    user = _person(request)
    team = team_for_user(user, slug, role=Role.ADMIN)
    form = MemberForm(request.POST)
    if not form.is_valid():
        return _team_page(request, team, form, status=400)
    member = form.cleaned_data["username"]
    try:
        membership_set(team=team, user=member, role=form.cleaned_data["role"], actor=user)
    except LastAdmin as error:
        messages.error(request, error.text)
    else:
        messages.success(
            request,
            _("%(name)s is %(role)s of %(team)s.") % {"name": member, "role": Role(form.cleaned_data["role"]).label, "team": team.name},
        )
    return redirect("accounts:team_detail", slug)


@login_required
@require_POST
def member_remove(request: HttpRequest, slug: str, username: str) -> HttpResponse:
    """An admin removes somebody; anybody removes themselves."""
    user = _person(request)
    team = team_for_user(user, slug, role=Role.VIEWER if username == user.username else Role.ADMIN)
    member = get_object_or_404(User, username=username, memberships__team=team)
    if team.personal_of_id == member.pk:
        raise PermissionDenied(_("A personal team keeps its person."))
    try:
        membership_set(team=team, user=member, role=None, actor=user)
    except LastAdmin as error:
        messages.error(request, error.text)
        return redirect("accounts:team_detail", slug)
    messages.success(request, _("%(name)s left %(team)s.") % {"name": member, "team": team.name})
    return redirect("accounts:team_list") if member == user else redirect("accounts:team_detail", slug)


def _team_page(request: HttpRequest, team: Team, form: MemberForm, status: int = 200) -> HttpResponse:
    user = _person(request)
    members = list(team.memberships.select_related("user").order_by("user__username"))
    mine = next((membership.role for membership in members if membership.user_id == user.pk), "")
    page = {
        "team": team,
        "members": members,
        "form": form,
        "tab": "teams",
        "is_admin": user.is_superuser or mine == Role.ADMIN,
        "my_role": mine and Role(mine).label,
        "roles": Role.choices,
    }
    return render(request, "accounts/team_detail.html", page, status=status)


def _person(request: HttpRequest) -> User:
    """request.user behind login_required."""
    assert isinstance(request.user, User)
    return request.user
