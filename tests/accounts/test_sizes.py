"""Sizes as people read them: one way on every page, in every message and in the scripts."""

from __future__ import annotations

import pytest
from django.template import Context, Template
from django.urls import reverse

from accounts.models import User
from accounts.sizes import size_text
from tests.conftest import client_for


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (1500, "1.5 kB"),
        (99_949, "99.9 kB"),
        (340_400, "340 kB"),
        (2_000_000, "2 MB"),
        (5 * 1024**3, "5.4 GB"),
        (3e15, "3000 TB"),
    ],
)
def test_sizes_go_in_steps_of_a_thousand(count: float, text: str) -> None:
    assert size_text(count) == text.replace(" ", "\xa0")


def test_a_missing_size_is_a_dash() -> None:
    shown = Template("{{ none|size }} {{ nowhere.at.all|size }} {{ zero|size }}").render(Context({"none": None, "zero": 0}))
    assert shown == "– – 0\xa0bytes"


@pytest.mark.django_db
def test_the_limit_of_an_upload_is_said_in_the_unit_in_which_it_is_checked(alice: User, settings: object) -> None:
    settings.UPLOAD_MAX_BYTES = 2_000_000  # type: ignore[attr-defined]
    page = client_for(alice).get(reverse("search:sampleset_new")).content.decode()
    assert "Up to 2\xa0MB a file" in page and 'data-max-bytes="2000000"' in page
