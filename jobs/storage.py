"""How much each area of the data folder holds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext as _

ENTRY_CAP = 200_000


@dataclass(frozen=True, slots=True)
class Area:
    """One folder. size: bytes on disk of its files; complete: False when there were too many files to count them all."""

    key: str
    label: str
    help: str
    files: int
    size: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Storage:
    """All areas and the disk they lie on, in bytes."""

    areas: list[Area]
    disk_total: int
    disk_free: int

    @property
    def size(self) -> int:
        return sum(area.size for area in self.areas)

    @property
    def is_tight(self) -> bool:
        """Less than a twentieth of the disk, or less than one largest upload, is free."""
        return self.disk_free < max(self.disk_total / 20, settings.UPLOAD_MAX_BYTES)


def storage_measure() -> Storage:
    """Walks the folders; files that vanish meanwhile count as gone."""
    places = (
        ("tensors", _("Tensors"), _("Weights of every version, each tensor once"), settings.TENSOR_DIR),
        ("blobs", _("Original files"), _("Model files as they were uploaded; switched off by KEEP_ORIGINAL_FILES"), settings.BLOB_DIR),
        ("samples", _("Sample sets"), _("Deleted with all that derives from them on their retention date"), settings.SAMPLE_DIR),
        ("uploads", _("Uploads"), _("Files on their way in; unused ones are deleted after UPLOAD_EXPIRE_HOURS"), settings.UPLOAD_DIR),
    )
    areas = [_measure(key, label, text, folder) for key, label, text, folder in places]
    disk = shutil.disk_usage(settings.DATA_DIR)
    return Storage(areas, disk.total, disk.free)


def _measure(key: str, label: str, text: str, folder: Path) -> Area:
    files = size = 0
    for entry in _files(folder):
        if files == ENTRY_CAP:
            return Area(key, label, text, files, size, complete=False)
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        files += 1
        size += min(status.st_blocks * 512, status.st_size)  # a file with holes holds less than its length
    return Area(key, label, text, files, size, complete=True)


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _files(Path(entry.path))
                else:
                    yield entry
    except FileNotFoundError:
        return
