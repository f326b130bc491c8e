"""A search of Alice's that has ended, with everything that can hang on it."""

from __future__ import annotations

import pytest

from accounts.models import Team, User
from catalog.models import ModelVersion
from search.models import SampleSet, Search
from tests.search.factories import make_sampleset, make_search, make_version, run


@pytest.fixture
def versions(alice: User, team: Team) -> list[ModelVersion]:
    names = ["animals-large", "animals-small", "animals-old"]
    return [make_version(alice, team, name, latency_ms=8.0 / (place + 1)) for place, name in enumerate(names)]


@pytest.fixture
def samples(alice: User) -> SampleSet:
    return make_sampleset(alice)


@pytest.fixture
def finished(alice: User, samples: SampleSet, versions: list[ModelVersion]) -> Search:
    return run(make_search(alice, samples, versions))
