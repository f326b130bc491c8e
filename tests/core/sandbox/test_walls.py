"""The report on the walls: true, honest about what is missing, and the same for a normal user."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpuworker.core.sandbox import Limits, Sandbox, bubblewrap, landlock, seccomp
from gpuworker.core.sandbox.report import grade_of
from tests.core.sandbox.fixtures import EVERY_WALL, HOSTILE

PROJECT = Path(__file__).resolve().parents[3]
HEADERS = {
    0: [Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm/unistd_64.h")],
    1: [Path("/usr/include/asm-generic/unistd.h")],
}

AS_USER = f"""
import json, os
from dataclasses import asdict
from gpuworker.core.sandbox import Limits, Sandbox
with Sandbox({HOSTILE!r}) as sandbox:
    walls = sandbox.walls()
    with sandbox.session(Limits(memory=1 << 28, wall_s=30)) as session:
        answers = {{
            "read": session.call("read", {{"path": "/etc/passwd"}}).meta,
            "signal": session.call("signal", {{"pid": os.getpid()}}).meta,
            "fork": session.call("fork").meta,
            "memory": session.call("memory", {{"bytes": 1 << 29}}).meta,
            "connect": session.call("connect", {{"port": 9}}).meta,
            "libraries": session.call("libraries").meta,
        }}
print(json.dumps([os.getuid(), asdict(walls), answers]))
"""


def test_report_of_a_full_sandbox(sandbox: Sandbox) -> None:
    walls = sandbox.walls(Limits(memory=1 << 28, output=1000, open_files=50))
    assert walls.landlock == landlock.version()
    assert walls.seccomp == seccomp.allowed_calls(cuda=False) > 50
    assert walls.no_new_privileges
    assert walls.uid != 0
    assert (walls.rlimits["FSIZE"], walls.rlimits["CORE"], walls.rlimits["NOFILE"]) == (1000, 0, 164)
    assert walls.rlimits["AS"] > 1 << 28
    if walls.landlock:
        assert walls.grade == "confined"
    assert not [line for line in walls.sentences if "left out" in line]


def test_what_is_left_out_is_said(sandbox_without: Callable[[frozenset[str]], Sandbox]) -> None:
    walls = sandbox_without(EVERY_WALL).walls()
    assert walls.grade == "unconfined"
    assert (walls.landlock, walls.seccomp, walls.network_namespace, walls.empty_root, walls.rlimits) == (0, 0, False, False, {})
    missing = [line for line in walls.sentences if line.startswith("Missing: ")]
    assert len(missing) == len(walls.sentences) >= 5


@pytest.mark.parametrize(
    ("abi", "calls", "bubblewrap", "grade"),
    [
        (3, 70, False, "confined"),
        (0, 70, True, "confined"),
        (0, 70, False, "partly confined"),
        (1, 0, False, "partly confined"),
        (0, 0, False, "unconfined"),
    ],
)
def test_grades(abi: int, calls: int, bubblewrap: bool, grade: str) -> None:
    assert grade_of(abi, calls, bubblewrap) == grade


def test_unknown_walls_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match="unknown walls"):
        Sandbox(omit=frozenset({"moat"}))


@pytest.mark.parametrize("column", HEADERS)
def test_call_numbers_are_those_of_the_kernel_headers(column: int) -> None:
    header = next((path for path in HEADERS[column] if path.is_file()), None)
    if header is None:
        pytest.skip("the kernel's headers are not installed")
    known = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text())}
    checked = {name.split()[0]: checks[0].numbers for name, checks in seccomp._checks(1, cuda=False).items()}
    refused = {name: numbers for name, (numbers, _) in seccomp._REFUSALS.items()}
    generic_names = {"newfstatat": "fstatat"} if column else {}
    for name, numbers in (seccomp.CALLS | seccomp.CUDA_CALLS | checked | refused).items():
        assert numbers[column] == known.get(generic_names.get(name, name)), name


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("cuda", [False, True])
def test_filter_is_well_formed(machine: str, cuda: bool) -> None:
    code = seccomp.program(machine, 1234, cuda)
    lines = [code[start : start + 8] for start in range(0, len(code), 8)]
    assert len(code) % 8 == 0
    for index, line in enumerate(lines):
        if line[0] in (0x15, 0x35):
            assert index + 1 + max(line[2], line[3]) < len(lines)
    assert lines[-1][0] == 0x06


def test_bubblewrap_stands_in_for_landlock(tmp_path: Path) -> None:
    if bubblewrap.find() is None:
        pytest.skip("bubblewrap is not installed, or not allowed here")
    (tmp_path / "private").write_text("secret")
    with Sandbox(HOSTILE, EVERY_WALL - {"bubblewrap"}) as sandbox:
        assert sandbox.walls().bubblewrap
        assert sandbox.walls().grade == "partly confined"
        with sandbox.session(Limits()) as session:
            assert "refused" in session.call("read", {"path": str(tmp_path / "private")}).meta
            assert "refused" in session.call("read", {"path": f"/proc/{os.getpid()}/environ"}).meta
            for folder in (PROJECT, PROJECT / "gpuworker"):
                assert "refused" in session.call("write", {"path": str(folder / "written")}).meta
    with Sandbox(HOSTILE, frozenset({"landlock"})) as sandbox:
        assert sandbox.walls().grade == "confined"
        with sandbox.session(Limits()) as session:
            assert session.call("libraries").meta["finite"] is True


def _python_for_another_user(options: dict[str, Any], environment: dict[str, str]) -> str:
    """This Python, or the system's of the same version where this one lies in a private folder."""
    system = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, system):
        try:
            subprocess.run([python, "-c", "import torch"], env=environment, cwd=PROJECT, check=True, capture_output=True, **options)
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    pytest.skip("no Python here that another user can run")


def test_a_normal_user_is_confined_too() -> None:
    """Root runs the same as nobody; whoever is a normal user already runs it as such."""
    options: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []} if os.getuid() == 0 else {}
    packages = [part for part in sys.path if part and not part.startswith(sys.base_prefix)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join([str(PROJECT), *packages])}
    python = _python_for_another_user(options, environment)
    ran = subprocess.run([python, "-c", AS_USER], env=environment, cwd=PROJECT, capture_output=True, text=True, check=False, **options)
    assert ran.returncode == 0, ran.stderr
    uid, walls, answers = json.loads(ran.stdout)
    assert uid != 0
    assert walls["landlock"] == landlock.version()
    assert walls["seccomp"] > 0
    libraries = answers.pop("libraries")
    assert libraries["finite"] is True
    assert all("refused" in answer for answer in answers.values()), answers
