"""The whole tree keeps the house rules. An exception stands here with its reason, and must be needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.architecture import rules
from tests.architecture.rules import MAX_LINES, ROOT, VAGUE_NAMES, product_files, relative, templates

LONG_FILES: dict[str, str] = {}
ENVIRONMENT = {
    "config/__init__.py": "sets the number of threads before any library that reads it is loaded",
    "config/settings.py": "the one place that reads settings",
    "config/postgres.py": "runs before the settings can be read",
    "config/embedded.py": "starts the processes that read the settings",
    "config/asgi.py": "names the settings module",
    "config/celery.py": "names the settings module",
    "gpuworker/core/sandbox/process.py": "leaves the worker's environment behind when it starts the sandbox",
    "gpuworker/core/sandbox/kernel.py": "clears what is left of it",
    "modelshop/uploads.py": "where a publisher's machine keeps caches",
    "gpuworker/zoo/store.py": "where a publisher's machine keeps caches",
    "modelshop/cli.py": "runs on a publisher's machine, without Django",
}
LATE_IMPORTS: dict[str, str] = {}
UNESCAPED: dict[str, str] = {}


def _findings(paths: list[Path], rule: Callable[[str], list[str]], allowed: dict[str, str]) -> dict[str, list[str]]:
    """Findings by file; files of the allow-list that no longer need it are findings too."""
    found = {relative(path): rule(path.read_text()) for path in paths}
    needless = {name: ["stands in the allow-list without need"] for name in allowed if not found.get(name) and (ROOT / name).exists()}
    return {name: lines for name, lines in found.items() if lines and name not in allowed} | needless


@pytest.mark.parametrize(
    ("rule", "allowed"),
    [
        (rules.unsafe_loading, {}),
        (rules.signal_receivers, {}),
        (rules.late_imports, LATE_IMPORTS),
        (rules.unescaped, UNESCAPED),
        (rules.left_overs, {}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_product_code_keeps(rule: Callable[[str], list[str]], allowed: dict[str, str]) -> None:
    assert not _findings(product_files(), rule, allowed)


def test_the_environment_is_read_in_one_place() -> None:
    found = {relative(path) for path in product_files() if rules.environment_reads(path.read_text())}
    needed = {name for name in ENVIRONMENT if (ROOT / name).exists()}
    assert found == needed, "read it in config/settings.py and use django.conf.settings"


def test_models_do_not_override_save() -> None:
    paths = [path for path in product_files() if path.name == "models.py" and path.parent.parent == ROOT]
    assert len(paths) >= 5
    assert not _findings(paths, rules.save_overrides, {})


@pytest.mark.parametrize("rule", [rules.inline_code, rules.unescaped], ids=lambda rule: rule.__name__)
def test_templates_keep(rule: Callable[[str], list[str]]) -> None:
    assert len(templates()) > 20
    assert not _findings(templates(), rule, {})


def _own_files() -> list[Path]:
    static = [path for kind in ("js", "css") for path in (ROOT / "static" / kind).rglob("*") if path.is_file()]
    return [*product_files(), *static, *(ROOT / "tests").rglob("*.py"), ROOT / "dev"]


def test_files_stay_readable_in_one_sitting() -> None:
    lines = {relative(path): len(path.read_text().splitlines()) for path in _own_files()}
    too_long = {name: count for name, count in lines.items() if count > MAX_LINES and name not in LONG_FILES}
    assert not too_long
    assert all(lines[name] > MAX_LINES for name in LONG_FILES), "an exception that is no longer needed"


def test_no_file_is_named_for_nothing() -> None:
    assert not [relative(path) for path in _own_files() if path.name in VAGUE_NAMES]
