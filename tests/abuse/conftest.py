"""The shared sandboxes, under the names tests ask for."""

from tests.core.sandbox.fixtures import sandbox, sandbox_without, session

__all__ = ["sandbox", "sandbox_without", "session"]
