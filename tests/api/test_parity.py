"""Whatever a page can do, the REST API can do: each page that shows or changes something names the routes that do the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from tests.api.test_schema import api_names

ROUTES = {
    "home": ["api-searches", "api-models", "api-review-queue"],
    "catalog:model_list": ["api-models", "api-facets"],
    "catalog:model_new": ["api-models", "api-versions", "api-spec-schema"],
    "catalog:deleted_list": ["api-models"],
    "catalog:model_detail": ["api-model", "api-version"],
    "catalog:model_evidence": ["api-signature", "api-version-probes"],
    "catalog:model_signature": ["api-signature"],
    "catalog:model_files": ["api-version"],
    "catalog:version_list": ["api-versions", "api-aliases"],
    "catalog:version_new": ["api-versions"],
    "catalog:model_settings": ["api-model"],
    "catalog:alias_set": ["api-alias"],
    "catalog:alias_delete": ["api-alias"],
    "catalog:model_delete": ["api-model"],
    "catalog:model_restore": ["api-model-restore"],
    "catalog:model_purge": ["api-model-purge"],
    "catalog:version_detail": ["api-version", "api-reviews"],
    "catalog:version_recheck": ["api-version-recheck"],
    "catalog:version_submit": ["api-version-submit"],
    "catalog:version_archive": ["api-version-archive"],
    "catalog:reference_withdraw": ["api-reference-withdraw"],
    "catalog:file_download": ["api-file"],
    "catalog:review_decide": ["api-reviews"],
    "catalog:review_queue": ["api-review-queue", "api-version-probes"],
    "catalog:probe_set_list": ["api-probe-sets"],
    "catalog:probe_set": ["api-probe-set"],
    "catalog:labelled_withdraw": ["api-labelled-slice"],
    "catalog:probe_share": ["api-probe-sharing"],
    "catalog:calibration_list": ["api-calibrations"],
    "accounts:settings": ["api-me"],
    "accounts:tokens": ["api-tokens"],
    "accounts:token_revoke": ["api-token"],
    "accounts:team_list": ["api-teams"],
    "accounts:team_detail": ["api-team"],
    "accounts:member_set": ["api-member"],
    "accounts:member_remove": ["api-member"],
    "jobs:tray": ["api-jobs"],
    "jobs:detail": ["api-job"],
    "jobs:cancel": ["api-job-cancel"],
    "jobs:retry": ["api-job-retry"],
    "search:sampleset_list": ["api-sample-sets"],
    "search:sampleset_new": ["api-sample-sets"],
    "search:sampleset_detail": ["api-sample-set", "api-sample-set-previews"],
    "search:sampleset_status": ["api-sample-set", "api-jobs"],
    "search:sampleset_problems": ["api-sample-set-problems"],
    "search:sampleset_options": ["api-sample-set-recheck"],
    "search:sampleset_extend": ["api-sample-set"],
    "search:sampleset_share": ["api-sample-set"],
    "search:sampleset_delete": ["api-sample-set", "api-sample-set-footprint"],
    "search:search_list": ["api-searches"],
    "search:search_new": ["api-searches", "api-search-plan"],
    "search:search_count": ["api-search-plan"],
    "search:search_detail": ["api-search", "api-candidates", "api-search-difference"],
    "search:search_updates": ["api-search-events"],
    "search:search_plan": ["api-search-execution"],
    "search:search_plots": ["api-search-plots"],
    "search:search_samples": ["api-search-disputed"],
    "search:search_confirm": ["api-search-labels", "api-search-label-next"],
    "search:confirm_label": ["api-search-labels"],
    "search:confirm_undo": ["api-search-label"],
    "search:confirm_use": ["api-search-labels"],
    "search:confirm_give": ["api-search-label-probes"],
    "search:confirm_take_back": ["api-search-label-probes"],
    "search:search_stop": ["api-search-stop"],
    "search:search_rerun": ["api-search-rerun"],
    "search:search_share": ["api-search"],
    "search:search_delete": ["api-search"],
    "search:search_csv": ["api-search-csv"],
    "search:search_json": ["api-search-json"],
    "search:search_row": ["api-candidate"],
    "search:candidate_retry": ["api-candidate-retry"],
    "search:report_list": ["api-reports"],
    "search:report": ["api-report"],
}

WITHOUT = {
    "signing in and out and the means to do so need a browser, by design": ["account_", "mfa_"],
    "uploads are an interface for programs themselves: tus 1.0, which takes tokens": ["uploads:"],
    "probes, metrics and the schema are read by programs as they are": [
        "healthz",
        "readyz",
        "favicon",
        "jobs:metrics",
        "schema",
        "api_docs",
    ],
    "only names the format of files from outside; the API answers it with the version": ["catalog:detect_files"],
    "operators act on the machines they run, signed in; programs read /metrics": [
        "jobs:workers", "jobs:drain", "jobs:requeue", "jobs:storage", "accounts:audit",
    ],
}  # fmt: skip


def page_names(resolver: URLResolver, space: str = "") -> Iterator[str]:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLPattern):
            if not (pattern.name or "").startswith("api-"):
                yield f"{space}{pattern.name}"
        elif pattern.namespace != "admin":
            yield from page_names(pattern, f"{pattern.namespace}:" if pattern.namespace else space)


def excused(name: str) -> bool:
    return any(name.startswith(start) for starts in WITHOUT.values() for start in starts)


def test_every_page_has_its_routes_or_a_reason() -> None:
    there = set(page_names(get_resolver()))
    assert {name for name in there if name not in ROUTES and not excused(name)} == set(), "neither in the API nor excused"
    assert set(ROUTES) - there == set(), "listed, but gone"
    assert {name for name in ROUTES if excused(name)} == set(), "both"


def test_every_route_is_there_and_is_of_use_to_some_page() -> None:
    there = {name for name, _ in api_names(get_resolver())}
    named = {route for routes in ROUTES.values() for route in routes}
    assert named - there == set(), "no such route"
    assert there - named == set(), "a route that no page needs: name its page"


@pytest.mark.parametrize("start", [start for starts in WITHOUT.values() for start in starts])
def test_every_reason_is_still_needed(start: str) -> None:
    assert any(name.startswith(start) for name in page_names(get_resolver()))
