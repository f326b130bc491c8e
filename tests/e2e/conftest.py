"""One seeded instance and one Chromium for all browser tests of the product, and people who use it.

Both live as long as this package: Playwright's loop must not outlast it, or Django refuses the database to the tests after it.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.e2e.people import MAKE_PEOPLE, Desk
from tests.static.conftest import ARGS
from tests.system import ROOT, System

HERE = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.slow)


class Attached(System):
    """An instance that somebody else started and stops."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.environment = {key: value for key, value in os.environ.items() if key not in ("DATABASE_URL", "MODELSHOP_HOME")}
        self.url = f"http://127.0.0.1:{self.processes()['port']}"


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("no chromium on PATH")
        pytest.skip("no chromium on PATH; install the package chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def system() -> Iterator[System]:
    """A seeded instance. MODELSHOP_E2E_DATA names the folder of a running one to use instead (quicker while writing tests)."""
    if given := os.environ.get("MODELSHOP_E2E_DATA"):
        attached = Attached(Path(given))
        attached.python(MAKE_PEOPLE)
        yield attached
        return
    folder = Path(tempfile.mkdtemp(prefix="modelshop-e2e-"))
    system = System(folder / "data", seed=True)
    try:
        system.wait_ready(400)
        system.python(MAKE_PEOPLE)
        yield system
    finally:
        system.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="package")
def cookies() -> dict[str, list[dict[str, object]]]:
    """Sessions by name: each person signs in once."""
    return {}


@pytest.fixture
def desk(chromium: Browser, system: System, cookies: dict[str, list[dict[str, object]]]) -> Iterator[Desk]:
    """Opens browsers for people and fails the test on what went wrong behind their back."""
    desk = Desk(chromium, system, cookies)
    yield desk
    desk.close()


@pytest.fixture(scope="session")
def seed_files() -> Path:
    return ROOT / "gpuworker" / "seed" / "files"


@pytest.fixture(scope="session")
def manifest(seed_files: Path) -> dict[str, list[dict[str, object]]]:
    return dict(json.loads((seed_files / "manifest.json").read_text()))
