"""Static files with hashed names where they were collected, plain names where not (a first start, tests)."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class Storage(CompressedManifestStaticFilesStorage):
    manifest_strict = False
