"""Tray, job pages, operator's pages and metrics: who sees what, and what they say."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

from accounts.models import ApiToken, Scope, User
from jobs.models import Device, Job, JobState, Worker
from tests.conftest import api_for, client_for
from tests.jobs.conftest import MakeJob

pytestmark = pytest.mark.django_db
OPERATE = ["jobs:workers", "jobs:storage"]


def test_the_tray_shows_a_persons_own_jobs(make_job: MakeJob, people: dict[str, User], team: object) -> None:
    alice = people["owner"]
    make_job(alice, JobState.RUNNING, label="Digits <1>", progress=0.25, progress_text="16 of 64")
    make_job(alice, JobState.FAILED, label="Broken", error_title="It does not fit.", finished=timezone.now())
    make_job(alice, JobState.SUCCEEDED, label="Long ago", finished=timezone.now() - timedelta(days=2))
    make_job(people["outsider"], label="Not yours")
    text = client_for(alice).get(reverse("jobs:tray")).content.decode()
    assert 'data-tray-active="1"' in text and "Digits &lt;1&gt;" in text and 'value="0.250"' in text and "16 of 64" in text
    assert "It does not fit." in text and "Long ago" not in text and "Not yours" not in text
    mate = client_for(people["team mate"]).get(reverse("jobs:tray")).content.decode()
    assert 'data-tray-active="0"' in mate and "Nothing is running" in mate
    assert client_for(people["anonymous"]).get(reverse("jobs:tray")).status_code == 401


def test_a_tray_of_any_length_asks_the_same_number_of_times(
    make_job: MakeJob, alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client = client_for(alice)
    for _ in range(15):
        make_job(alice)
    with django_assert_num_queries(6):  # session, person, jobs, and three about the queue
        text = client.get(reverse("jobs:tray")).content.decode()
    assert "14 jobs are ahead of it" in text


@pytest.mark.parametrize(("name", "method"), [("detail", "get"), ("cancel", "post"), ("retry", "post")])
def test_a_job_exists_for_its_owner_and_for_operators(
    name: str, method: str, make_job: MakeJob, people: dict[str, User], team: object, operator: User
) -> None:
    job = make_job(people["owner"], JobState.FAILED if name == "retry" else JobState.QUEUED)
    url = reverse(f"jobs:{name}", args=[job.pk])
    for who, user in people.items():
        response = getattr(client_for(user), method)(url)
        expected = {"owner": 200 if method == "get" else 302, "anonymous": 302}.get(who, 404)
        assert response.status_code == expected, who
        assert who != "anonymous" or "login" in response.url
    assert getattr(client_for(operator), method)(url).status_code in (200, 302)
    if method == "post":
        assert client_for(people["owner"]).get(url).status_code == 405


def test_a_waiting_job_says_why_and_a_failed_one_what_to_do(make_job: MakeJob, alice: User) -> None:
    client = client_for(alice)
    page = client.get(reverse("jobs:detail", args=[make_job(alice).pk])).content.decode()
    assert "It is next. No worker is running" in page
    failed = make_job(alice, JobState.FAILED, error_title="No memory.", error_detail="It needs 9 GB.", error_fix="Use fewer samples.")
    page = client.get(reverse("jobs:detail", args=[failed.pk])).content.decode()
    assert "No memory." in page and "It needs 9 GB." in page and "Use fewer samples." in page and "Try again" in page
    broken = client.get(reverse("jobs:detail", args=[make_job(alice, JobState.ERRORED).pk])).content.decode()
    assert "Something broke on our side" in broken


def test_cancel_and_retry_work_and_go_back_to_our_own_pages_only(make_job: MakeJob, alice: User) -> None:
    client = client_for(alice)
    job = make_job(alice)
    response = client.post(reverse("jobs:cancel", args=[job.pk]), {"next": "/settings/"})
    assert response.url == "/settings/"
    job.refresh_from_db()
    assert job.state == JobState.CANCELLED
    response = client.post(reverse("jobs:retry", args=[job.pk]), {"next": "https://evil.example/"})
    new = Job.objects.latest("id")
    assert new.pk != job.pk and response.url == reverse("jobs:detail", args=[new.pk])
    client.post(reverse("jobs:retry", args=[make_job(alice, JobState.SUCCEEDED).pk]))
    assert Job.objects.filter(state=JobState.QUEUED).count() == 1


@pytest.mark.parametrize("name", OPERATE)
def test_operators_pages_are_for_operators(name: str, people: dict[str, User], team: object, operator: User) -> None:
    for who, user in people.items():
        assert client_for(user).get(reverse(name)).status_code == (302 if who == "anonymous" else 404)
    assert client_for(operator).get(reverse(name)).status_code == 200


def test_operators_actions_are_for_operators(make_job: MakeJob, people: dict[str, User]) -> None:
    worker, job = Worker.objects.create(name="w1"), make_job(people["owner"])
    for who in ("owner", "outsider", "anonymous"):
        client = client_for(people[who])
        client.post(reverse("jobs:drain", args=[worker.pk]), {"draining": "1"})
        client.post(reverse("jobs:requeue", args=[job.pk]))
    worker.refresh_from_db()
    job.refresh_from_db()
    assert not worker.draining and job.attempt == 1 and Job.objects.count() == 1


def test_empty_and_error_states(operator: User, make_job: MakeJob) -> None:
    client = client_for(operator)
    page = client.get(reverse("jobs:workers")).content.decode()
    assert "No worker has reported" in page and "No job has been asked for yet" in page and "no worker takes them" not in page
    make_job()
    page = client.get(reverse("jobs:workers")).content.decode()
    assert "Jobs wait, and no worker takes them" in page
    assert "No job is in this state" in client.get(reverse("jobs:workers") + "?state=failed").content.decode()


def test_workers_are_shown_with_walls_and_drained(operator: User, make_job: MakeJob) -> None:
    walls = {"grade": "partly confined", "sentences": ["No network: yes.", "No <namespaces> here."]}
    job = make_job(state=JobState.RUNNING, label="Digits")
    worker = Worker.objects.create(name="gpu-1", device="H200", memory_bytes=2_100_000_000, job=job, walls=walls)
    Worker.objects.create(name="old", seen=timezone.now() - timedelta(minutes=3))
    client = client_for(operator)
    page = client.get(reverse("jobs:workers")).content.decode()
    for text in ("gpu-1", "H200", "2.1\xa0GB", "partly confined", "No &lt;namespaces&gt; here.", "Digits", "silent", "alive"):
        assert text in page, text
    client.post(reverse("jobs:drain", args=[worker.pk]), {"draining": "1"})
    worker.refresh_from_db()
    assert worker.draining and "draining" in client.get(reverse("jobs:workers")).content.decode()
    client.post(reverse("jobs:drain", args=[worker.pk]), {"draining": "0"})
    worker.refresh_from_db()
    assert not worker.draining


def test_the_list_of_jobs_is_filtered_paged_and_requeued(operator: User, make_job: MakeJob) -> None:
    for number in range(60):
        make_job(state=JobState.FAILED if number % 2 else JobState.SUCCEEDED)
    client, url = client_for(operator), reverse("jobs:workers")
    first = client.get(url).context["page"]
    second = client.get(url + first.older).context["page"]
    assert (len(first.rows), len(second.rows)) == (50, 10) and first.rows[-1].pk > second.rows[0].pk
    failed = client.get(url + "?state=failed").context["page"].rows
    assert len(failed) == 30 and {job.state for job in failed} == {"failed"}
    assert len(client.get(url + "?state=nonsense&before=x").context["page"].rows) == 50
    client.post(reverse("jobs:requeue", args=[failed[0].pk]))
    assert Job.objects.filter(state=JobState.QUEUED, subject_id=failed[0].subject_id).count() == 1
    running = Job.claim(Job.objects.get(state=JobState.QUEUED).pk, 1, "w1")
    assert running is not None
    client.post(reverse("jobs:requeue", args=[running.pk]))
    assert not running.renew()


def test_workers_page_query_count(operator: User, make_job: MakeJob, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    client = client_for(operator)
    for number in range(20):
        job = make_job(operator)
        Worker.objects.create(name=f"w{number}", job=job)
    Device.objects.create(name="A processor, 1 thread", cost={"a": 1})
    # session, person, page of jobs, three about the queue, its figures, workers, devices
    with django_assert_num_queries(9) as seen:
        answer = client.get(reverse("jobs:workers"))
    assert not [query for query in seen.captured_queries if '"cost"' in query["sql"]], "it grows with every search"
    assert "A processor, 1 thread" in answer.content.decode() and "not timed yet" in answer.content.decode()


def test_storage_counts_files_and_bytes(operator: User, tmp_path: Path, settings: Settings) -> None:
    settings.TENSOR_DIR = tmp_path / "tensors"
    settings.SAMPLE_DIR = tmp_path / "missing"
    (settings.TENSOR_DIR / "ab").mkdir(parents=True)
    (settings.TENSOR_DIR / "ab" / "one").write_bytes(b"x" * 5000)
    (settings.TENSOR_DIR / "two").write_bytes(b"x" * 3000)
    storage = client_for(operator).get(reverse("jobs:storage")).context["storage"]
    areas = {area.key: (area.files, area.size, area.complete) for area in storage.areas}
    assert areas["tensors"] == (2, 8000, True) and areas["samples"] == (0, 0, True)
    assert storage.disk_total > storage.disk_free > 0


def test_too_many_files_are_said_to_be_more(operator: User, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.storage.ENTRY_CAP", 2)
    settings.TENSOR_DIR = tmp_path
    for number in range(3):
        (tmp_path / str(number)).write_bytes(b"x")
    assert "more than" in client_for(operator).get(reverse("jobs:storage")).content.decode()


def test_metrics_are_for_operators(people: dict[str, User], team: object, operator: User) -> None:
    expected = {"owner": 403, "team mate": 403, "outsider": 403, "anonymous": 401}
    assert {who: client_for(user).get("/metrics").status_code for who, user in people.items()} == expected
    assert client_for(operator).get("/metrics").status_code == 200
    alice = people["owner"]
    for user, scopes, status in (
        (operator, [Scope.OPERATE_READ], 200),
        (operator, [Scope.SEARCH_READ], 403),
        (alice, [Scope.OPERATE_READ], 403),
    ):
        _, text = ApiToken.issue(user, name="prometheus", scopes=scopes, expires=None)
        assert Client(headers={"Authorization": f"Bearer {text}"}).get("/metrics").status_code == status
    assert Client(headers={"Authorization": "Bearer nonsense"}).get("/metrics").status_code == 401


def test_metrics_tell_the_queue_the_states_and_the_heartbeats(operator: User, make_job: MakeJob) -> None:
    make_job(created=timezone.now() - timedelta(minutes=10))
    make_job()
    make_job(state=JobState.ERRORED)
    Worker.objects.create(name='odd "name"', seen=timezone.now() - timedelta(seconds=100), memory_bytes=123, draining=True)
    lines = client_for(operator).get("/metrics").content.decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert values["modelshop_queue_depth"] == "2.0"
    assert 600 <= float(values["modelshop_queue_oldest_seconds"]) < 620
    assert values['modelshop_jobs{state="errored"}'] == "1.0" and values['modelshop_jobs{state="failed"}'] == "0.0"
    assert 100 <= float(values['modelshop_worker_heartbeat_age_seconds{worker="odd \\"name\\""}']) < 120
    assert values['modelshop_worker_memory_bytes{worker="odd \\"name\\""}'] == "123.0"
    assert values['modelshop_worker_draining{worker="odd \\"name\\""}'] == "1.0"


def test_jobs_by_api(make_job: MakeJob, people: dict[str, User], team: object) -> None:
    job = make_job(people["owner"])
    url = f"/api/jobs/{job.pk}/"
    expected = {"owner": 200, "team mate": 404, "outsider": 404, "anonymous": 401}
    assert {who: api_for(user).get(url).status_code for who, user in people.items()} == expected
    assert {who: api_for(user).post(url + "cancel/").status_code for who, user in people.items() if who != "owner"} == {
        "team mate": 404,
        "outsider": 404,
        "anonymous": 401,
    }
    owner = api_for(people["owner"])
    assert owner.get(url).json()["waiting_reason"].startswith("It is next.")
    assert [row["id"] for row in owner.get("/api/jobs/").json()["results"]] == [job.pk]
    refused = owner.post(url + "retry/")
    assert refused.status_code == 422 and refused.json()["type"] == "urn:modelshop:nothing_to_retry"
    assert owner.post(url + "cancel/").json()["state"] == "cancelled"
    again = owner.post(url + "retry/")
    assert again.status_code == 202 and again.json()["id"] != job.pk


def test_a_reading_token_does_not_cancel(make_job: MakeJob, alice: User) -> None:
    job = make_job(alice)
    _, text = ApiToken.issue(alice, name="read", scopes=[Scope.SEARCH_READ], expires=None)
    client = Client(headers={"Authorization": f"Bearer {text}"})
    assert client.get(f"/api/jobs/{job.pk}/").status_code == 200
    assert client.post(f"/api/jobs/{job.pk}/cancel/").status_code == 403
    job.refresh_from_db()
    assert job.state == JobState.QUEUED
