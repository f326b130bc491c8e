"""People at their browsers. What a person would not notice at once (script errors, policy violations, foreign hosts) fails the test."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request

from tests.system import System

PASSWORD = "correct horse battery"

# Counted in the page itself, across navigations: what a hand does, not what scripts click.
COUNT_PRESSES = """addEventListener('pointerdown', (event) => {
    if (event.isTrusted) sessionStorage.setItem('presses', Number(sessionStorage.getItem('presses') ?? 0) + 1);
}, true)"""

# Beside the demo accounts: a viewer and a publisher of the demo team, and two people in no team.
MAKE_PEOPLE = f"""
from accounts.models import Membership, Role, Team, User
from accounts.services import personal_team_create
for name, role in (("viewer", Role.VIEWER), ("author", Role.PUBLISHER), ("outsider", None), ("fresh", None)):
    if not User.objects.filter(username=name).exists():
        user = User.objects.create_user(name, f"{{name}}@example.org", {PASSWORD!r})
        personal_team_create(user=user)
        if role:
            Membership.objects.create(user=user, team=Team.objects.get(slug="demo"), role=role)
"""


@dataclass(slots=True)
class Watch:
    """What went wrong in one page. `expected`: parts of console messages that belong to the test."""

    origin: str
    expected: tuple[str, ...] = ()
    problems: list[str] = field(default_factory=list)

    def attach(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.note(f"script error: {error}"))
        page.on("console", lambda message: self.console(message))
        page.on("request", lambda request: self.request(request))

    def console(self, message: ConsoleMessage) -> None:
        if message.type == "error" or "Content Security Policy" in message.text:
            self.note(f"console: {message.text} ({message.location.get('url', '')})")

    def request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.netloc != self.origin:
            self.note(f"request to another host: {request.url}")

    def note(self, text: str) -> None:
        if not any(part in text for part in self.expected):
            self.problems.append(text)


class Desk:
    """Opens a browser context for a person, signed in; one sign-in by the form serves all tests."""

    def __init__(self, browser: Browser, system: System, cookies: dict[str, list[dict[str, object]]]) -> None:
        self.browser, self.system, self.cookies = browser, system, cookies
        self.contexts: list[BrowserContext] = []
        self.watches: list[Watch] = []

    def open(self, who: str | None, *, width: int = 1280, height: int = 900, theme: str = "light", expected: tuple[str, ...] = ()) -> Page:
        """A page of that person (None: not signed in). `expected`: parts of console errors that belong to the test."""
        context = self.browser.new_context(
            base_url=self.system.url,
            viewport={"width": width, "height": height},
            color_scheme="dark" if theme == "dark" else "light",
            reduced_motion="reduce",
            locale="en-GB",
            accept_downloads=True,
        )
        context.add_init_script(COUNT_PRESSES)
        context.set_default_timeout(15_000)
        self.contexts.append(context)
        if who is not None:
            self._identify(context, who)
        page = context.new_page()
        watch = Watch(urlsplit(self.system.url).netloc, expected)
        watch.attach(page)
        self.watches.append(watch)
        return page

    def close(self) -> None:
        for context in self.contexts:
            context.close()
        problems = [problem for watch in self.watches for problem in watch.problems]
        assert not problems, "behind the person's back:\n" + "\n".join(problems)

    def password(self, who: str) -> str:
        accounts = json.loads((self.system.data / "demo-accounts.json").read_text())
        return next((str(account["password"]) for account in accounts if account["username"] == who), PASSWORD)

    def _identify(self, context: BrowserContext, who: str) -> None:
        if who not in self.cookies:
            page = context.new_page()
            sign_in(page, who, self.password(who))
            self.cookies[who] = [dict(cookie) for cookie in context.cookies()]
            page.close()
        context.add_cookies(self.cookies[who])  # type: ignore[arg-type]


def sign_in(page: Page, who: str, password: str) -> None:
    page.goto("/accounts/login/")
    page.get_by_label("Username or e-mail").fill(who)
    page.get_by_label("Password").fill(password)
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/")


def presses(page: Page) -> int:
    """Pointer presses so far in this tab, across its pages."""
    return int(page.evaluate("Number(sessionStorage.getItem('presses') ?? 0)"))


def ready(page: Page, path: str) -> None:
    page.goto(path)
    wait_bound(page)


def wait_bound(page: Page) -> None:
    """Until the page's scripts have bound everything."""
    page.wait_for_selector("html[data-ready=true]", state="attached")
