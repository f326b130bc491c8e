"""Alice owns one of everything that the API has; requests go through the whole WSGI stack."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import Scope, Team, User
from accounts.services import token_create
from catalog.models import Alias, ModelVersion, VersionState
from jobs.models import Job, JobState
from search.labelling_models import GivenLabel
from search.models import Candidate, Report, Search
from tests.catalog.makers import give_labelled, give_probes, published_row
from tests.search.factories import make_sampleset, make_search, make_version, run


@dataclass(frozen=True, slots=True)
class World:
    """Path parameters of what is there, by the first part of the address."""

    owner: User
    ids: dict[str, dict[str, object]]

    def parameters(self, path: str) -> dict[str, object]:
        """Real values for the parameters of a path template such as /api/searches/{id}/."""
        known = self.ids[path.split("/")[2]]
        return {name: value for name, value in known.items() if "{" + name + "}" in path}


@pytest.fixture
def world(alice: User, bob: User, team: Team) -> World:
    versions = [make_version(alice, team, name) for name in ("animals-large", "animals-small")]
    published_row(team, alice, "shapes")
    ModelVersion.objects.create(
        model=versions[0].model, number=2, created_by=alice, state=VersionState.READY, format="onnx", spec=versions[0].spec, labels=["cat"]
    )
    Alias.objects.create(model=versions[0].model, name="best", version=versions[0])
    samples = make_sampleset(alice)
    search: Search = run(make_search(alice, samples, versions))
    job = Job.objects.create(
        kind="search.sampleset_check", owner=alice, subject_id=samples.pk, label="Check", state=JobState.FAILED, lease_until=timezone.now()
    )
    token, _ = token_create(user=alice, name="nightly", scopes=[Scope.CATALOG_READ], lifetime=timedelta(days=7))
    model = {"team": team.slug, "name": "animals-large", "number": 1, "alias": "best", "file_id": versions[0].files.get().pk}
    report = Report.objects.create(search=search, created_by=alice, payload={"format": "modelshop.report/1"})
    candidate = Candidate.objects.filter(search=search).first()
    assert candidate is not None
    given = GivenLabel.objects.create(search=search, person=alice, item=3, label=0, weight=1.0)
    give_probes(versions[0])
    labelled = give_labelled(team, alice, versions[0])
    ids: dict[str, dict[str, object]] = {
        "models": model,
        "probe-sets": {"team": team.slug, "key": versions[0].probe_slice.set_key, "id": labelled.pk},
        "teams": {"slug": team.slug, "username": bob.username},
        "tokens": {"id": token.pk},
        "jobs": {"id": job.pk},
        "sample-sets": {"id": samples.pk},
        "searches": {"id": search.pk, "candidate_pk": candidate.pk, "report_pk": report.pk, "item": given.item},
    }
    return World(alice, ids)
