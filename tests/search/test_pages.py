"""What the pages show in each state, and what their forms do."""

from __future__ import annotations

import re

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from accounts.models import Team, User
from catalog.models import ModelVersion
from gpuworker.core.specs import FAMILIES, SCORERS
from jobs.models import Job
from search.dispatch import SEARCH_RUN
from search.models import Candidate, CandidateState, SampleSet, SampleSetState, Search, SearchState
from search.services import DEFAULT_SCORERS, search_rerun
from tests.conftest import client_for
from tests.search.factories import fail, make_report, make_sampleset, make_search, make_version, run
from tests.search.test_samplesets import make_upload


@pytest.fixture
def browser(alice: User) -> Client:
    return client_for(alice)


def text(response: HttpResponse) -> str:
    """The words of the page, without markup."""
    return words(response.content.decode())


def words(markup: str) -> str:
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", markup, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def page(browser: Client, name: str, *args: object, status: int = 200, **query: object) -> str:
    response = browser.get(reverse(f"search:{name}", args=args), query)
    assert response.status_code == status
    return text(response)


def test_from_the_drop_to_the_running_search(browser: Client, alice: User, versions: list[ModelVersion]) -> None:
    """Use these files, (checked), Start: two clicks after the drop."""
    upload = make_upload(alice, "mails.txt", b"hello\n")
    answer = browser.post(reverse("search:sampleset_new"), {"uploads": [str(upload.pk)], "then": "search"})
    made = SampleSet.objects.get()
    assert answer["Location"] == f"{reverse('search:search_new')}?samples={made.pk}"
    assert "Checking the samples" in text(browser.get(answer["Location"]))
    status = browser.get(reverse("search:sampleset_status", args=[made.pk]))
    assert "HX-Refresh" not in status
    SampleSet.objects.filter(pk=made.pk).update(
        state=SampleSetState.READY, modality="text", n=40, meta={"modality": "text", "column": "text"}
    )
    assert browser.get(reverse("search:sampleset_status", args=[made.pk]))["HX-Refresh"] == "true"
    form = browser.get(answer["Location"])
    assert "3 candidates" in text(form)
    started = browser.post(reverse("search:search_new"), {"samples": made.pk, "label_key": versions[0].label_key, "scorers": ["atc"]})
    search = Search.objects.get()
    assert started["Location"] == search.get_absolute_url()
    assert (search.candidates.count(), search.n_samples, search.scorers) == (3, 40, ["atc"])
    assert Job.objects.filter(kind=SEARCH_RUN, subject_id=search.pk).exists()


def test_uploads_that_are_not_there_are_named(browser: Client, alice: User) -> None:
    upload = make_upload(alice, "half.txt", b"hello\n", complete=False)
    answer = browser.post(reverse("search:sampleset_new"), {"uploads": [str(upload.pk)]})
    assert answer.status_code == 422
    assert "half.txt: 0 of 6 bytes have arrived." in text(answer)
    assert not SampleSet.objects.exists()


def test_the_count_follows_the_form(browser: Client, alice: User, team: Team, versions: list[ModelVersion], samples: SampleSet) -> None:
    make_version(alice, team, "animals-gpl", licence="GPL-3.0")
    data = {"samples": samples.pk, "label_key": versions[0].label_key, "licences": ["MIT"], "max_latency_ms": "5"}
    answer = browser.post(reverse("search:search_count"), data)
    words = text(answer)
    assert "2 candidates 2 left out" in words
    assert "1 Their licence is not among those you allow" in words
    assert "1 They are slower than you allow" in words
    assert answer["HX-Replace-Url"].startswith(f"{reverse('search:search_new')}?samples={samples.pk}&")
    again = browser.get(answer["HX-Replace-Url"])
    assert "2 candidates 2 left out" in text(again)


def test_no_candidate_says_why_and_how_near(browser: Client, versions: list[ModelVersion], samples: SampleSet) -> None:
    query = {"samples": samples.pk, "label_key": versions[0].label_key, "max_latency_ms": "0.5", "licences": ["MIT"]}
    answer = browser.get(reverse("search:search_new"), query)
    words = text(answer)
    assert "No candidate" in words
    assert "3 were left out for one reason: They are slower than you allow." in words
    assert "Drop the latency limit gives 3 candidates; the nearest miss is Animals old with 2.67 ms" in words
    assert "Allow any licence" not in words  # it would not help
    relaxed = next(url for url in re.findall(r'href="([^"]+)"', answer.content.decode()) if "searches/new/?" in url and "licences" in url)
    assert "max_latency_ms" not in relaxed
    assert "3 candidates" in text(browser.get(relaxed.replace("&amp;", "&")))
    refused = browser.post(reverse("search:search_new"), query)
    assert refused.status_code == 422
    assert not Search.objects.exists()


def test_an_empty_catalog_blames_no_constraint(browser: Client, samples: SampleSet) -> None:
    words = page(browser, "search_new", samples=samples.pk)
    assert "The catalog has no published model that you may see." in words


def test_scorers_need_one_that_runs_the_models(browser: Client, versions: list[ModelVersion], samples: SampleSet) -> None:
    answer = browser.post(reverse("search:search_new"), {"samples": samples.pk, "scorers": ["jsd_hist", "source_accuracy"]})
    assert answer.status_code == 422
    assert "Tick at least one scorer that predicts accuracy" in text(answer)


def test_more_strategies_are_folded_under_the_usual_ones(browser: Client, versions: list[ModelVersion], samples: SampleSet) -> None:
    address = reverse("search:search_new")
    body = browser.get(address, {"samples": samples.pk}).content.decode()
    usual, more = body.split("More strategies")
    boxes = re.compile(r'name="scorers" value="(\w+)"[^>]*?( checked)?>')
    assert set(boxes.findall(usual)) == {(key, " checked") for key in DEFAULT_SCORERS}
    assert set(boxes.findall(more)) == {(key, "") for key in SCORERS if key not in DEFAULT_SCORERS}
    assert re.findall(r"<legend>([^<]+)</legend>", more) == [
        family.label for family in FAMILIES.values() if any(s.family == family.key and not s.default for s in SCORERS.values())
    ]
    assert "<details><summary>More strategies" in body
    chosen = browser.get(address, {"samples": samples.pk, "scorers": ["dawid_skene", "entropy"]}).content.decode()
    assert "<details open><summary>More strategies" in chosen
    assert ("entropy", " checked") in boxes.findall(chosen)


def test_the_board_of_a_finished_search(browser: Client, finished: Search) -> None:
    words = page(browser, "search_detail", finished.pk)
    assert "Animals large. One model stands out" in words
    assert "90.0 % 86.0–94.0" in words
    assert "Their licence is not among those you allow" in words
    body = browser.get(finished.get_absolute_url()).content.decode()
    assert 'data-final="true"' in body and f'data-seq="{finished.last_seq}"' in body
    assert 'id="stop-form"' in body and "stop-button" not in body


def test_polling_gives_the_rows_of_the_page(browser: Client, finished: Search) -> None:
    update = browser.get(reverse("search:search_updates", args=[finished.pk])).json()
    assert set(update) == {"type", "seq", "header", "rows", "order", "summary", "final"}
    body = browser.get(finished.get_absolute_url()).content.decode()
    for row in update["rows"].values():
        assert row.strip() in body
    assert browser.get(reverse("search:search_updates", args=[finished.pk]), {"after": 2}).json()["rows"] == {}
    assert browser.get(reverse("search:search_updates", args=[finished.pk]), {"after": "x"}).json()["type"] == "snapshot"


def test_a_live_board_before_anything_ran(browser: Client, alice: User, samples: SampleSet, versions: list[ModelVersion]) -> None:
    search = make_search(alice, samples, versions, state=SearchState.RUNNING, stage="Running candidates")
    words = page(browser, "search_detail", search.pk)
    assert "the order below is the prior" in words
    assert words.count("not measured") == 3
    assert "Stop search" in words
    assert "Plots appear with the first predictions" in page(browser, "search_plots", search.pk)
    assert "No predictions yet" in page(browser, "search_samples", search.pk)


def test_failures_name_cause_and_next_step(browser: Client, finished: Search) -> None:
    row = finished.candidates.order_by("position")[2]
    fail(row)
    body = browser.get(finished.get_absolute_url()).content.decode()
    assert "The model gave NaN on your samples." in body
    assert reverse("search:candidate_retry", args=[finished.pk, row.pk]) in body
    Search.objects.filter(pk=finished.pk).update(state="failed", error_title="No worker could run it.", error_fix="Start a worker.")
    words = page(browser, "search_detail", finished.pk)
    assert "No worker could run it. Start a worker." in words
    assert client_for(finished.owner).post(reverse("search:candidate_retry", args=[finished.pk, row.pk])).status_code == 302
    assert Candidate.objects.get(pk=row.pk).state == "queued"


def test_a_failed_row_is_not_tried_again_while_the_search_runs(browser: Client, finished: Search) -> None:
    row = finished.candidates.order_by("position")[2]
    fail(row)
    Search.objects.filter(pk=finished.pk).update(state=SearchState.RUNNING)
    again = reverse("search:candidate_retry", args=[finished.pk, row.pk])
    for url in (finished.get_absolute_url(), reverse("search:search_row", args=[finished.pk, row.pk])):
        body = browser.get(url).content.decode()
        assert "The model gave NaN on your samples." in body and again not in body
        Search.objects.filter(pk=finished.pk).update(state=SearchState.FINISHED)
        assert again in browser.get(url).content.decode()
        Search.objects.filter(pk=finished.pk).update(state=SearchState.RUNNING)


def test_the_state_filter_knows_every_state_a_row_can_have(browser: Client, finished: Search) -> None:
    body = browser.get(finished.get_absolute_url()).content.decode()
    select = body[body.index('id="board-state"') : body.index("</select>", body.index('id="board-state"'))]
    assert re.findall(r'value="(\w+)"', select) == CandidateState.values


def test_cannot_tell_shows_no_number(browser: Client, alice: User, samples: SampleSet, versions: list[ModelVersion]) -> None:
    search = run(make_search(alice, samples, versions), accuracies=(None, None, None))
    search.verdict = {"kind": "cannot_tell", "sentence": "Cannot tell from 24 samples.", "cause": "Too few.", "next_step": "Drop more."}
    search.save()
    words = page(browser, "search_detail", search.pk)
    assert "Cannot tell from 24 samples. Too few. Next: Drop more." in words
    assert words.count("cannot tell") >= 3
    rows = browser.get(reverse("search:search_updates", args=[search.pk])).json()["rows"]
    assert not any(re.search(r'data-col="predicted" data-sort-value="[^"]', row) for row in rows.values())


def test_the_drawer_explains(browser: Client, finished: Search) -> None:
    row = finished.candidates.order_by("position")[1]
    url = reverse("search:search_row", args=[finished.pk, row.pk])
    partial = browser.get(url, headers={"X-Requested-With": "fetch"})
    words = text(partial)
    assert "<html" not in partial.content.decode()
    for part in ("Consensus (Dawid-Skene)", "Dawid and Skene", "The estimate over samples", "Class balance"):
        assert part in words
    assert "Samples on which it stands alone" in words
    assert "1.40 (over-confident)" in words
    assert "<html" in browser.get(url).content.decode()


def test_the_grid_shows_disputes_first(browser: Client, finished: Search) -> None:
    words = page(browser, "search_samples", finished.pk, leaders=3)
    shares = [float(found) for found in re.findall(r"([\d.]+) % disagree", words.replace("\xa0", " "))]
    assert shares and shares == sorted(shares, reverse=True)
    only = page(browser, "search_samples", finished.pk, leaders=3, label="dog")
    assert "of" in only and page(browser, "search_samples", finished.pk, label="<b>") == page(browser, "search_samples", finished.pk)


def test_a_report_is_frozen(browser: Client, finished: Search) -> None:
    answer = browser.post(reverse("search:report_list", args=[finished.pk]))
    before = text(browser.get(answer["Location"]))
    assert "Animals large. One model stands out" in before
    assert "cd" * 32 in before
    finished.candidates.update(predicted=0.11)
    Search.objects.filter(pk=finished.pk).update(verdict={}, excluded=[])
    SampleSet.objects.update(n=1, name="Renamed")
    assert text(browser.get(answer["Location"])) == before


def test_a_download_line_is_safe_to_paste(browser: Client, finished: Search) -> None:
    first = finished.candidates.order_by("position")[0]
    first.version.files.update(name="x'; rm -rf ~ #/$(id).onnx")
    body = browser.get(reverse("search:report", args=[finished.pk, make_report(finished).pk])).content.decode()
    line = re.search(r"-o (\S+) http", body)
    assert line and line[1] == "_id_.onnx"


def test_nothing_measured_makes_no_report(browser: Client, alice: User, samples: SampleSet, versions: list[ModelVersion]) -> None:
    search = make_search(alice, samples, versions)
    answer = browser.post(reverse("search:report_list", args=[search.pk]), follow=True)
    assert "There is nothing to report yet." in text(answer)
    assert not search.reports.exists()


def test_a_rerun_shows_what_changed(browser: Client, alice: User, team: Team, finished: Search) -> None:
    make_version(alice, team, "animals-new")
    assert "Re-run with 1 model added since" in page(browser, "search_detail", finished.pk)
    again = run(search_rerun(search=finished, actor=alice), accuracies=(0.95, 0.9, 0.7, 0.6))
    words = page(browser, "search_detail", again.pk)
    assert "What changed since the earlier run" in words
    assert "1 model added Animals new" in words


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7|add:7 }}"])
def test_names_never_become_markup(hostile: str, alice: User, team: Team, finished: Search) -> None:
    version = finished.candidates.order_by("position")[0].version
    version.model.title = hostile
    version.model.save()
    version.files.update(name=hostile)
    sample_set = finished.sample_set
    sample_set.name = hostile
    sample_set.problems = [{"name": hostile, "reason": hostile, "row": None}] * 2
    sample_set.guess |= {"why": hostile}
    sample_set.save()
    sample_set.files.update(name=hostile)
    finished.name, finished.labels = hostile, [hostile, "dog", "horse"]
    finished.excluded = [{"key": "x", "sentence": hostile, "count": 1, "examples": [[hostile, hostile]], "relax": ""}]
    finished.verdict |= {"sentence": hostile, "leader_names": [hostile]}
    finished.save()
    fail(finished.candidates.order_by("position")[1])
    report = make_report(finished)
    row = finished.candidates.order_by("position")[0]
    browser = client_for(alice)
    names = [
        ("sampleset_list", []),
        ("sampleset_detail", [sample_set.pk]),
        ("sampleset_problems", [sample_set.pk]),
        ("sampleset_delete", [sample_set.pk]),
        ("search_list", []),
        ("search_detail", [finished.pk]),
        ("search_plots", [finished.pk]),
        ("search_samples", [finished.pk]),
        ("search_row", [finished.pk, row.pk]),
        ("report", [finished.pk, report.pk]),
    ]
    for name, args in names:
        body = browser.get(reverse(f"search:{name}", args=args)).content.decode()
        assert "<script>alert" not in body and "<img src=x" not in body, name
    update = browser.get(reverse("search:search_updates", args=[finished.pk])).json()
    for markup in (update["header"], *update["rows"].values()):  # `summary` is set as text, never as markup
        assert "<script>alert" not in markup and "<img src=x" not in markup
    count = browser.get(reverse("search:search_new"), {"samples": make_sampleset(alice, hostile).pk}).content.decode()
    assert "<script>alert" not in count and "<img src=x" not in count


def test_lists_in_their_states(browser: Client, alice: User, samples: SampleSet, versions: list[ModelVersion]) -> None:
    assert "No search yet" in page(browser, "search_list")
    make_sampleset(alice, "Broken", state=SampleSetState.FAILED, n=0, error_title="No sample could be read.")
    make_sampleset(alice, "Demo digits", demo=True)
    words = page(browser, "sampleset_list")
    assert "60 of 62 usable" in words and "not usable" in words and "Demo samples" in words
    make_search(alice, samples, versions, state=SearchState.RUNNING)
    assert 'hx-trigger="every 4s"' in browser.get(reverse("search:search_list")).content.decode()
    assert "No search in this state" in page(browser, "search_list", state="failed")


def test_lists_page_by_cursor(browser: Client, alice: User, samples: SampleSet, versions: list[ModelVersion]) -> None:
    for number in range(35):
        Search.objects.create(owner=alice, sample_set=samples, name=f"search {number:02}")
    first = page(browser, "search_list")
    assert "search 34" in first and "search 04" not in first
    before = re.findall(r"\?before=(\d+)", browser.get(reverse("search:search_list")).content.decode())[0]
    second = page(browser, "search_list", before=before)
    assert "search 04" in second and "search 05" not in second


def test_no_inline_style_or_script_anywhere(browser: Client, finished: Search) -> None:
    """The content security policy forbids both, so they would be dead markup."""
    row = finished.candidates.order_by("position")[0]
    urls = [
        finished.get_absolute_url(),
        reverse("search:search_row", args=[finished.pk, row.pk]),
        reverse("search:search_plots", args=[finished.pk]),
        reverse("search:search_samples", args=[finished.pk]),
        reverse("search:report", args=[finished.pk, make_report(finished).pk]),
        finished.sample_set.get_absolute_url(),
        f"{reverse('search:search_new')}?samples={finished.sample_set_id}",
    ]
    for url in urls:
        body = browser.get(url).content.decode()
        assert not re.search(r"<[^>]+\sstyle=", body), url
        assert not re.search(r"<[^>]+\son\w+=", body), url
        assert "<style" not in body, url
