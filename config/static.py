"""Static files with hashed names where they were collected, plain names where not (a first start, tests)."""

from __future__ import annotations

from typing import Any

from whitenoise.storage import CompressedManifestStaticFilesStorage


class Storage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]
    manifest_strict = False

    def hashed_name(self, name: str, content: Any = None, filename: str | None = None) -> str:
        """A file that was not collected keeps its name; whitenoise's finders serve it from the source tree."""
        try:
            return str(super().hashed_name(name, content, filename))
        except ValueError:
            return name
