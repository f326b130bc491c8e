"""The only way to fetch a sample set, a search or what hangs on them by id. Whatever a person may not see does not exist."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser
from django.http import Http404

from accounts.models import User
from search.models import Candidate, Report, SampleSet, SampleSetState, Search


def sampleset_for_user(user: User | AnonymousUser, pk: int, *, edit: bool = False) -> SampleSet:
    """A sample set the person owns or (to look at) that is shared with a team of theirs. Raises Http404.

    A demo set belongs to everybody, so that nobody changes it, its owner neither.
    """
    rows = SampleSet.objects.owned_by(user).filter(demo=False) if edit else SampleSet.objects.visible_to(user)
    found = rows.exclude(state=SampleSetState.DELETED).filter(pk=pk).select_related("owner", "shared_with").first()
    if found is None:
        raise Http404("No such sample set.")
    return found


def search_for_user(user: User | AnonymousUser, pk: int, *, edit: bool = False) -> Search:
    """A search the person owns or (to look at) that is shared with a team of theirs. Raises Http404."""
    rows = Search.objects.owned_by(user) if edit else Search.objects.visible_to(user)
    found = rows.filter(pk=pk).select_related("owner", "sample_set", "shared_with", "confirmation").defer("sample_set__signature").first()
    if found is None:
        raise Http404("No such search.")
    return found


def labelled_search_for_user(user: User | AnonymousUser, pk: int) -> Search:
    """A search the person may see with its samples, so that they may label them; a shared board alone is not enough. Raises Http404."""
    search = search_for_user(user, pk)
    if not SampleSet.objects.visible_to(user).filter(pk=search.sample_set_id).exists():
        raise Http404("No samples of this search are shared with you.")
    return search


def candidate_for_user(user: User | AnonymousUser, search_pk: int, pk: int) -> Candidate:
    """A candidate of a search the person may see. Raises Http404."""
    search = search_for_user(user, search_pk)
    found = search.candidates.taking(search.device).filter(pk=pk).select_related("version__model__team").first()
    if found is None:
        raise Http404("No such candidate.")
    return found


def report_for_user(user: User | AnonymousUser, search_pk: int, pk: int) -> Report:
    """A report of a search the person may see. Raises Http404."""
    search = search_for_user(user, search_pk)
    found = Report.objects.filter(search=search, pk=pk).select_related("created_by").first()
    if found is None:
        raise Http404("No such report.")
    found.search = search
    return found
