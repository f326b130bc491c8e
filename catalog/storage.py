"""Where the files of the catalog stand: uploads on their way in, kept originals, raw references, probe slices, tensor packs."""

from __future__ import annotations

import shutil
from pathlib import Path

from django.conf import settings


def blob_path(sha256: str) -> Path:
    """A kept original, by content."""
    return settings.BLOB_DIR / sha256


def incoming_folder(version_id: int) -> Path:
    """Uploaded model files until the check has passed: one file per VersionFile, named by its id."""
    return settings.BLOB_DIR / "incoming" / str(version_id)


def reference_folder(version_id: int) -> Path:
    """Raw reference rows until the behaviour signature is computed, and the probe slice where its publisher opted in."""
    return settings.BLOB_DIR / "references" / str(version_id)


def probes_path(version_id: int) -> Path:
    return reference_folder(version_id) / "probes.safetensors"


def labelled_folder(piece_id: int) -> Path:
    """Of a probe slice that labelled samples make up."""
    return settings.BLOB_DIR / "labelled" / str(piece_id)


def pack_path(pack: str) -> Path:
    """The same place as gpuworker.core.program.store.TensorStore.path; the web side cannot import it (it loads torch)."""
    return settings.TENSOR_DIR / "packs" / f"{pack}.safetensors"


def move_into(source: Path, target: Path) -> None:
    """Move a file, complete or not at all; nothing happens when an earlier try has done it."""
    if target.exists() and not source.exists():
        return
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        source.replace(target)
    except OSError:
        # Another file system: copy beside the target first, so that the target is never half a file.
        partial = target.with_name(f".{target.name}.partial")
        shutil.copyfile(source, partial)
        partial.replace(target)
        source.unlink(missing_ok=True)


def remove_file(path: Path) -> int:
    """Delete a file; the bytes it held, 0 when it was gone."""
    try:
        size = path.stat().st_size
        path.unlink()
    except FileNotFoundError:
        return 0
    return size


def remove_folder(folder: Path) -> int:
    """Delete a folder with all in it; the bytes it held."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    shutil.rmtree(folder, ignore_errors=True)
    return size
