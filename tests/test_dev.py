"""The one entry point: what it lists, what it refuses, and that the Makefile's aliases lead to it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROMISED = ["up", "worker", "test", "check", "e2e", "lint", "types", "gpu", "bench", "seed", "docs"]


def _dev(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, ROOT / "dev", *arguments], capture_output=True, text=True, env=environment, timeout=60)


def test_help_lists_every_command() -> None:
    done = _dev("help")
    assert done.returncode == 0
    assert set(PROMISED) <= set(re.findall(r"^  (\w+) ", done.stdout, re.MULTILINE))


def test_no_command_is_help() -> None:
    assert _dev().stdout == _dev("help").stdout


def test_an_unknown_command_lists_the_known_ones() -> None:
    done = _dev("fly")
    assert done.returncode == 2
    assert "up" in done.stdout and "usage" in done.stdout


def test_a_worker_without_services_says_what_to_set() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "BROKER_URL")}
    done = _dev("worker", environment=environment)
    assert done.returncode == 1
    assert "DATABASE_URL and BROKER_URL" in done.stderr and "docs/howto/run-for-a-team.md" in done.stderr


def test_it_needs_the_standard_library_only() -> None:
    done = subprocess.run([sys.executable, "-I", "-S", ROOT / "dev", "help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_it_is_executable_and_so_is_the_ci_script() -> None:
    assert os.access(ROOT / "dev", os.X_OK)
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_makefile_has_an_alias_for_each() -> None:
    aliases = re.findall(r"^COMMANDS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split()
    assert set(aliases) == set(re.findall(r"^  (\w+) ", _dev("help").stdout, re.MULTILINE))


def test_ci_calls_the_readme_command_and_names_no_machine() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert script.rstrip().endswith("./dev test")
    assert not re.search(r"https?://|/home/|/root\b", script)
    assert subprocess.run(["bash", "-n", ROOT / ".ci" / "run"]).returncode == 0


def test_a_port_that_somebody_else_has_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "config.embedded", "--port", port, "--data", str(tmp_path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr and "--port" in done.stderr
    assert not (tmp_path / "postgres").exists()
