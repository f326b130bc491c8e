"""Every address a person can open, and why the others are no pages. A test compares both with the URL resolver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from playwright.sync_api import Page, expect


@dataclass(frozen=True, slots=True)
class Places:
    """Ids of what the pages show: a finished search of the demo account, its samples, a report, a job."""

    samples: int
    bad_samples: int
    search: int
    candidate: int
    report: int
    job: int
    probe_set: str


@dataclass(frozen=True, slots=True)
class View:
    """One page in one state. `own`: drawn by us, so that axe and the narrow window hold; a library's page is only loaded."""

    key: str
    path: str
    who: Literal["demo", "curator", "operator", "fresh"] | None = "demo"
    own: bool = True
    settle: Callable[[Page], None] | None = None

    def address(self, places: Places) -> str:
        return self.path.format(**{name: getattr(places, name) for name in Places.__slots__})


def plots_shown(page: Page) -> None:
    expect(page.locator("#plots svg").first).to_be_visible()


def drawer_shown(page: Page) -> None:
    expect(page.locator("[data-drawer] .kv").first).to_be_visible()


MODEL = "/models/demo/digits-cnn/"
VERSION = MODEL + "versions/1/"

# By the name of the URL pattern; a page in a further state has the name, a space and the state.
VIEWS = [
    View("home", "/"),
    View("home fresh", "/", who="fresh"),
    View("account_login", "/accounts/login/", who=None),
    View("account_signup", "/accounts/signup/", who=None),
    View("account_logout", "/accounts/logout/"),
    View("account_inactive", "/accounts/inactive/", who=None),
    View("account_reauthenticate", "/accounts/reauthenticate/"),
    View("account_email_verification_sent", "/accounts/confirm-email/", who=None),
    View("account_confirm_email", "/accounts/confirm-email/no-such-key/", who=None),
    View("account_change_password", "/accounts/password/change/"),
    View("account_reset_password", "/accounts/password/reset/", who=None),
    View("account_reset_password_done", "/accounts/password/reset/done/", who=None),
    View("account_reset_password_from_key", "/accounts/password/reset/key/1-expired/", who=None),
    View("account_reset_password_from_key_done", "/accounts/password/reset/key/done/", who=None),
    View("mfa_index", "/accounts/2fa/"),
    View("mfa_activate_totp", "/accounts/2fa/totp/activate/"),
    View("catalog:model_list", "/models/"),
    View("catalog:model_list cards", "/models/?view=cards"),
    View("catalog:model_list filtered", "/models/?modality=image&sort=-accuracy"),
    View("catalog:model_list no hit", "/models/?q=zebra&modality=text"),
    View("catalog:model_new", "/models/new/"),
    View("catalog:deleted_list", "/models/deleted/"),
    View("catalog:model_detail", MODEL),
    View("catalog:model_evidence", MODEL + "evidence/"),
    View("catalog:model_signature", MODEL + "signature/"),
    View("catalog:model_files", MODEL + "files/"),
    View("catalog:version_list", MODEL + "versions/"),
    View("catalog:version_new", MODEL + "versions/new/", who="operator"),
    View("catalog:model_settings", MODEL + "settings/", who="operator"),
    View("catalog:version_detail", VERSION),
    View("catalog:version_recheck", VERSION + "recheck/", who="operator"),
    View("catalog:review_queue", "/curate/queue/", who="curator"),
    View("catalog:probe_set_list", "/probes/"),
    View("catalog:probe_set_list empty", "/probes/?team=nobody"),
    View("catalog:probe_set", "/probes/demo/{probe_set}/", who="operator"),
    View("accounts:settings", "/settings/"),
    View("accounts:tokens", "/settings/tokens/"),
    View("accounts:team_list", "/settings/teams/"),
    View("accounts:team_detail", "/settings/teams/demo/", who="operator"),
    View("catalog:calibration_list", "/operate/calibration/", who="operator"),
    View("accounts:audit", "/operate/audit/", who="operator"),
    View("jobs:detail", "/jobs/{job}/"),
    View("jobs:workers", "/operate/workers/", who="operator"),
    View("jobs:storage", "/operate/storage/", who="operator"),
    View("search:sampleset_list", "/samples/"),
    View("search:sampleset_list fresh", "/samples/", who="fresh"),
    View("search:sampleset_new", "/samples/new/"),
    View("search:sampleset_detail", "/samples/{samples}/"),
    View("search:sampleset_detail with problems", "/samples/{bad_samples}/"),
    View("search:sampleset_problems", "/samples/{bad_samples}/problems/"),
    View("search:sampleset_delete", "/samples/{bad_samples}/delete/"),
    View("search:search_list", "/searches/"),
    View("search:search_list fresh", "/searches/", who="fresh"),
    View("search:search_new", "/searches/new/?samples={samples}"),
    View("search:search_new choose", "/searches/new/"),
    View("search:search_new no candidate", "/searches/new/?samples={samples}&max_latency_ms=0.000001"),
    View("search:search_detail", "/searches/{search}/", settle=plots_shown),
    View("search:search_detail drawer", "/searches/{search}/?row={candidate}", settle=drawer_shown),
    View("search:search_confirm", "/searches/{search}/confirm/"),
    View("search:search_samples", "/searches/{search}/samples/"),
    View("search:search_plan", "/searches/{search}/plan/"),
    View("search:search_row", "/searches/{search}/rows/{candidate}/"),
    View("search:report_list", "/searches/{search}/report/"),
    View("search:report", "/searches/{search}/report/{report}/"),
    View("api_docs", "/api/docs/", own=False, settle=lambda page: expect(page.locator(".swagger-ui .opblock").first).to_be_visible()),
    View("admin:index", "/admin/", who="operator", own=False),
]

NO_PAGES = {
    "changes something, by POST only": [
        "catalog:detect_files", "catalog:alias_set", "catalog:alias_delete", "catalog:model_delete", "catalog:model_restore",
        "catalog:model_purge", "catalog:version_submit", "catalog:version_archive", "catalog:reference_withdraw", "catalog:review_decide",
        "catalog:labelled_withdraw",
        "catalog:probe_share", "accounts:token_revoke", "accounts:member_set", "accounts:member_remove", "jobs:cancel", "jobs:retry",
        "jobs:drain", "jobs:requeue", "search:sampleset_options", "search:sampleset_extend", "search:sampleset_share",
        "search:search_count", "search:search_stop", "search:search_rerun", "search:search_share", "search:search_delete",
        "search:confirm_label", "search:confirm_undo", "search:confirm_use", "search:confirm_give", "search:confirm_take_back",
        "search:candidate_retry",
    ],
    "a piece of a page": ["jobs:tray", "search:sampleset_status", "search:search_updates", "search:search_plots"],
    "a file": ["catalog:file_download", "search:search_csv", "search:search_json", "mfa_download_recovery_codes", "schema"],
    "for machines": ["healthz", "readyz", "favicon", "jobs:metrics", "uploads:collection", "uploads:item"],
    "sends on to another page unless in the middle of that step": [
        "account_email", "account_set_password", "account_confirm_login_code", "mfa_authenticate", "mfa_reauthenticate",
        "mfa_deactivate_totp", "mfa_view_recovery_codes", "mfa_generate_recovery_codes",
    ],
}  # fmt: skip
