"""The samples of a search, those first on which the leaders disagree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from search.access import search_for_user
from search.evidence import samples_visible
from search.models import Search
from search.predictions import Answers, Disputed, answers_of, disputed, disputed_order, leaders
from search.previews import previews
from search.views.pages import person, signed_in

PAGE = 24
CHOICES = (3, 5, 10, 15)


@dataclass(frozen=True, slots=True)
class Vote:
    """A label and who gives it: (name, confidence in [0, 1])."""

    label: str
    voters: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Card:
    index: int
    item: dict[str, Any] | None
    share: float
    votes: tuple[Vote, ...]


@signed_in
@require_GET
def search_samples(request: HttpRequest, pk: int) -> HttpResponse:
    """`leaders`: how many of the first rows vote. `label`: only samples to which one of them gives it. `page`: of the grid."""
    user = person(request)
    search = search_for_user(user, pk)
    asked = request.GET.get("leaders", "5")
    count = int(asked) if asked in {str(choice) for choice in CHOICES} else 5
    answers = answers_of(search, leaders(search, count))
    order, share = disputed_order(answers)
    label = request.GET.get("label", "")
    if label in search.labels:
        order = order[(answers.labels[:, order] == search.labels.index(label)).any(0)]
    page = Paginator(order, PAGE).get_page(request.GET.get("page"))
    visible = samples_visible(user, search.sample_set)
    shown = [int(index) for index in page.object_list]
    items = previews(search.sample_set, shown) if visible else [None] * len(shown)
    cards = [_card(search, answers, disputed(answers, index, float(share[index])), item) for index, item in zip(shown, items, strict=True)]
    context = {
        "search": search,
        "cards": cards,
        "page": page,
        "visible": visible,
        "voters": answers.candidates,
        "n_disputed": int((share > 0).sum()),
        "n": answers.n,
        "choices": CHOICES,
        "count": count,
        "label": label,
        "nav": "searches",
    }
    return render(request, "search/search_samples.html", context)


def _card(search: Search, answers: Answers, split: Disputed, item: dict[str, Any] | None) -> Card:
    votes = [
        Vote(
            str(search.labels[label]),
            tuple((str(answers.candidates[place].version.model.title), float(answers.confidence[place, split.index])) for place in places),
        )
        for label, places in split.votes
    ]
    return Card(split.index, item, split.share, tuple(votes))
