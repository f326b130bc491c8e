"""Sandboxes are shared by the tests of a run: each costs a start of about a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from gpuworker.core.sandbox import Limits, Sandbox, Session

HOSTILE = "tests.core.sandbox.hostile_jobs"
EVERY_WALL = frozenset({"landlock", "seccomp", "namespaces", "uid", "rlimits", "descriptors", "bubblewrap"})


@pytest.fixture(scope="session")
def sandbox_without() -> Iterator[Callable[[frozenset[str]], Sandbox]]:
    """A sandbox of hostile jobs with the given walls left out."""
    made: dict[frozenset[str], Sandbox] = {}

    def make(omit: frozenset[str]) -> Sandbox:
        if omit not in made:
            made[omit] = Sandbox(HOSTILE, omit)
        return made[omit]

    yield make
    for sandbox in made.values():
        sandbox.close()


@pytest.fixture
def sandbox(sandbox_without: Callable[[frozenset[str]], Sandbox]) -> Sandbox:
    return sandbox_without(frozenset())


@pytest.fixture
def session(sandbox: Sandbox) -> Iterator[Session]:
    with sandbox.session(Limits(memory=1 << 30, wall_s=30)) as session:
        yield session
