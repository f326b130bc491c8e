"""Images: files, folders, zips and .npz.

Batch arrays: `pixels` (ragged uint8, each row H * W * C numbers, channels last) and `shapes` (N, 3) int32 H, W, C with
C = 1 (grey) or 3 (RGB). Transparent pixels are laid on white, the first frame of an animation is taken, camera
orientation is applied, 16-bit grey is scaled to 8 bits. Images whose longer side exceeds the set's `max_side` are
scaled down with Lanczos. meta: modality, max_side, channels (found values of C), height and width ([least, most]).
"""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.errors import LimitExceeded, UnreadableSamples
from gpuworker.core.modalities.archives import npz_array, npz_headers, text_items, zip_entries
from gpuworker.core.modalities.batches import OFFSETS
from gpuworker.core.modalities.image_encode import encode
from gpuworker.core.modalities.image_features import FEATURES_VERSION, features, near_keys, values
from gpuworker.core.modalities.options import DEFAULT_CAPS, Caps, ReadOptions
from gpuworker.core.modalities.pixels import decode, image_at, shrink, to_pil
from gpuworker.core.modalities.problems import ProblemLog
from gpuworker.core.modalities.results import finish
from gpuworker.core.protocols import ReadResult, SampleBatch, SourceFile

__all__ = ["FEATURES_VERSION", "encode", "features", "preview", "read", "values"]

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_SIDES = (512, 384, 256, 192, 128, 96, 64)
_PREVIEW_SIDE = 256
_ARRAY_NAMES = ("x", "X", "images", "image", "data")
_FIX = "Upload PNG, JPEG, WebP, BMP or TIFF files, a zip of them, or an .npz with x (N,H,W[,C]) uint8."


@dataclass(slots=True)
class _Collected:
    """Images read so far; the three lists run in parallel."""

    images: list[NDArray[np.uint8]] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    origin: list[tuple[str, int]] = field(default_factory=list)
    label_names: tuple[str, ...] = ()
    decoded: int = 0


def read(files: Sequence[SourceFile], options: ReadOptions, caps: Caps = DEFAULT_CAPS) -> ReadResult:
    """A batch of all usable images. Raises UnreadableSamples when there is none."""
    log = ProblemLog(caps.problems)
    side = _side(files, options, caps)
    found = _Collected()
    for file in files:
        try:
            _read_file(file, options, caps, side, found, log)
        except (UnreadableSamples, LimitExceeded) as error:
            log.add(file.name, f"{error.title} {error.detail}".strip())
        if _full(found, options, caps):
            break
    if found.decoded > caps.decoded_bytes or len(found.images) > caps.rows:
        log.add(found.origin[-1][0], f"Only the first {len(found.images) - 1} images are used: the set is too large.")
        found.images.pop(), found.labels.pop(), found.origin.pop()
    if not found.images:
        raise log.nothing_usable(_FIX)
    return finish(_batch(found.images, side), found.labels, found.label_names, found.origin, options, log, near_keys, _FIX)


def preview(batch: SampleBatch, index: int) -> dict[str, Any]:
    """{"kind": "image", "src": PNG as a data URL, "width", "height"}, at most 256 pixels a side."""
    image = to_pil(shrink(image_at(batch, index), _PREVIEW_SIDE))
    out = io.BytesIO()
    image.save(out, "PNG")
    src = "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
    return {"kind": "image", "src": src, "width": image.width, "height": image.height}


def _side(files: Sequence[SourceFile], options: ReadOptions, caps: Caps) -> int:
    """The longest side kept: the largest step at which all images fit into `decoded_bytes`, even if all were square RGB."""
    count = sum(_entries(file) for file in files)
    count = min(count, options.limit or count, caps.rows)
    fitting = (side for side in _SIDES if side <= caps.side and side * side * 3 * count <= caps.decoded_bytes)
    return next(fitting, min(_SIDES[-1], caps.side))


def _entries(file: SourceFile) -> int:
    if not file.name.lower().endswith(".zip"):
        return 1
    file.stream.seek(0)
    try:
        return len(zipfile.ZipFile(file.stream).infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return 0


def _read_file(file: SourceFile, options: ReadOptions, caps: Caps, side: int, found: _Collected, log: ProblemLog) -> None:
    name = file.name.lower()
    if file.size > caps.file_bytes:
        raise LimitExceeded("The file is too large.", detail=f"{file.size} bytes, allowed {caps.file_bytes}.")
    if name.endswith(".npz"):
        _read_npz(file, options, caps, side, found, log)
        return
    for path, data in _image_files(file, caps, log):
        if not path.lower().endswith(EXTENSIONS):
            log.add(path, f"It is no image file; expected {', '.join(EXTENSIONS)}.")
            continue
        _add(found, path, 1, data, _folder(path) if options.labels_from == "folder" else None, caps, side, log)
        if _full(found, options, caps):
            return


def _image_files(file: SourceFile, caps: Caps, log: ProblemLog) -> Iterator[tuple[str, bytes]]:
    if file.name.lower().endswith(".zip"):
        yield from zip_entries(file, caps, log)
    elif file.size > caps.entry_bytes:
        log.add(file.name, f"It has {file.size} bytes, allowed {caps.entry_bytes}.")
    else:
        file.stream.seek(0)
        yield file.name, file.stream.read(caps.entry_bytes)


def _add(found: _Collected, path: str, row: int, data: bytes, label: str | None, caps: Caps, side: int, log: ProblemLog) -> None:
    try:
        image = decode(data, side, caps)
    except ValueError as error:
        log.add(path, str(error), row if path.lower().endswith(".npz") else None)
        return
    _keep(found, image, label, (path, row))


def _keep(found: _Collected, image: NDArray[np.uint8], label: str | None, origin: tuple[str, int]) -> None:
    found.images.append(image)
    found.labels.append(label)
    found.origin.append(origin)
    found.decoded += image.nbytes


def _full(found: _Collected, options: ReadOptions, caps: Caps) -> bool:
    count = len(found.images)
    return found.decoded > caps.decoded_bytes or count > caps.rows or bool(options.limit and count >= options.limit)


def _folder(path: str) -> str:
    parts = path.split("/")
    # The first part of a zip entry is the zip's own name, which is no label.
    return parts[-2] if len(parts) > 1 and not parts[-2].lower().endswith(".zip") else ""


def _read_npz(file: SourceFile, options: ReadOptions, caps: Caps, side: int, found: _Collected, log: ProblemLog) -> None:
    headers = npz_headers(file, caps)
    names = text_items(npz_array(file, "label_names", headers["label_names"], caps)) if "label_names" in headers else ()
    found.label_names = found.label_names or names
    labels: Sequence[str | None] = ()
    if "y" in headers and options.labels_from == "auto":
        labels = text_items(npz_array(file, "y", headers["y"], caps))
        if names and all(label.isdigit() and int(label) < len(names) for label in labels if label is not None):
            labels = [names[int(label)] for label in labels if label is not None]
    if "jpeg" in headers and "offset" in headers:
        count, rows = _jpeg_rows(npz_array(file, "jpeg", headers["jpeg"], caps), npz_array(file, "offset", headers["offset"], caps), file)
        rows_pixels = None
    else:
        key = options.array or next((name for name in _ARRAY_NAMES if name in headers), "")
        if key not in headers:
            raise UnreadableSamples("It holds no images.", detail=f"Expected an array x; its arrays are {', '.join(list(headers)[:20])}.")
        rows_pixels = _pixel_rows(npz_array(file, key, headers[key], caps), options.layout)
        count, rows = len(rows_pixels), iter(())
    if labels and len(labels) != count:
        raise UnreadableSamples("Its labels do not fit its images.", detail=f"{len(labels)} labels, {count} images.")
    for row in range(count):
        label = labels[row] if labels else None
        if rows_pixels is None:
            _add(found, file.name, row + 1, next(rows), label, caps, side, log)
        else:
            _add_row(found, file.name, row + 1, rows_pixels[row], label, side, log)
        if _full(found, options, caps):
            return


def _add_row(found: _Collected, name: str, row: int, pixels: NDArray[Any], label: str | None, side: int, log: ProblemLog) -> None:
    if pixels.dtype == np.uint8:
        _keep(found, shrink(pixels, side), label, (name, row))
        return
    low, high = float(pixels.min()), float(pixels.max())
    if not np.isfinite(pixels).all():
        log.add(name, "The image holds NaN or infinite values.", row)
    elif low < 0 or high > (1 if pixels.dtype.kind == "f" else 255):
        expected = "0 to 1 for floating point" if pixels.dtype.kind == "f" else "0 to 255"
        log.add(name, f"The image holds values {low:g} to {high:g}, expected {expected}.", row)
    else:
        scaled = np.rint(pixels * 255.0) if pixels.dtype.kind in "fb" else pixels
        _keep(found, shrink(scaled.astype(np.uint8), side), label, (name, row))


def _jpeg_rows(jpeg: NDArray[Any], offset: NDArray[Any], file: SourceFile) -> tuple[int, Iterator[bytes]]:
    ends = offset.ravel().tolist()
    sane = jpeg.dtype == np.uint8 and jpeg.ndim == 1 and offset.dtype.kind in "iu" and ends and ends[0] >= 0 and ends[-1] <= jpeg.size
    if not sane or any(low > high for low, high in zip(ends[:-1], ends[1:], strict=True)):
        raise UnreadableSamples(
            "Its offsets do not cut its image bytes.", detail=f"{file.name}: jpeg (bytes,) uint8, offset (N + 1,) rising."
        )
    return len(ends) - 1, (jpeg[low:high].tobytes() for low, high in zip(ends[:-1], ends[1:], strict=True))


def _pixel_rows(array: NDArray[Any], layout: str) -> NDArray[Any]:
    """The array as (N, H, W, C) with C 1 or 3."""
    if array.ndim == 3:
        array = array[..., None]
    first = array.ndim == 4 and array.shape[3] not in (1, 3) and array.shape[1] in (1, 3)
    if array.ndim == 4 and (layout == "NCHW" or (not layout and first)):
        array = array.transpose(0, 2, 3, 1)
    if array.ndim != 4 or array.shape[3] not in (1, 3) or 0 in array.shape[1:] or array.dtype.kind not in "biuf":
        raise UnreadableSamples(
            "Its images have the wrong shape.", detail=f"Found {array.dtype} {array.shape}, expected (N,H,W) or (N,H,W,C) with C 1 or 3."
        )
    return array


def _batch(images: list[NDArray[np.uint8]], side: int) -> SampleBatch:
    shapes = np.array([image.shape for image in images], np.int32)
    offsets = np.zeros(len(images) + 1, np.int64)
    np.cumsum(shapes.astype(np.int64).prod(1), out=offsets[1:])
    pixels = np.concatenate([image.ravel() for image in images])
    meta = {
        "modality": "image",
        "max_side": side,
        "channels": sorted({int(c) for c in shapes[:, 2]}),
        "height": [int(shapes[:, 0].min()), int(shapes[:, 0].max())],
        "width": [int(shapes[:, 1].min()), int(shapes[:, 1].max())],
    }
    return SampleBatch("image", len(images), {"pixels": pixels, "pixels" + OFFSETS: offsets, "shapes": shapes}, meta)
