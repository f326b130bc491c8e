"""What kind of sample set some files most likely are, and the options to read them with. Shown on the page for correction."""

from __future__ import annotations

import posixpath
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gpuworker.core.errors import LimitExceeded, UnreadableSamples
from gpuworker.core.modalities.archives import ArrayHeader, npy_header, npz_headers
from gpuworker.core.modalities.image import EXTENSIONS as IMAGE_EXTENSIONS
from gpuworker.core.modalities.options import DEFAULT_CAPS, Caps, ReadOptions
from gpuworker.core.modalities.pair import LEFT, RIGHT, attributes_of
from gpuworker.core.modalities.problems import ProblemLog
from gpuworker.core.modalities.records import Records, is_input, is_numeric, looks_like_label, read_records
from gpuworker.core.modalities.series_read import TIME_NAMES, wide_columns
from gpuworker.core.modalities.sheets import EXTENSIONS as SHEET_EXTENSIONS
from gpuworker.core.modalities.text import text_column
from gpuworker.core.protocols import SourceFile

_PEEKED_ROWS = 200
_FEW_LABELS = 20
_LONG_TEXT = 20
_DEFAULT_WINDOW = 128
_SERIES_HINTS = frozenset({"channel_names", "rate_hz", "sample_rate", "scale"})
_MAGIC = {
    ".png": b"\x89PNG",
    ".jpg": b"\xff\xd8\xff",
    ".jpeg": b"\xff\xd8\xff",
    ".zip": b"PK",
    ".npz": b"PK",
    ".npy": b"\x93NUMPY",
    ".parquet": b"PAR1",
    ".bmp": b"BM",
}


@dataclass(frozen=True, slots=True)
class Guess:
    """confidence in [0, 1]. options: as `ReadOptions` takes them, without labels. alternatives: other modalities, likelier first.

    label_candidates: columns (or "y") that look like the answer; they are never part of the options' input columns.
    folder_labels: names of the folders when the files stand in several.
    """

    modality: str
    options: dict[str, Any]
    columns: tuple[str, ...]
    confidence: float
    why: str
    alternatives: tuple[str, ...] = ()
    label_candidates: tuple[str, ...] = ()
    folder_labels: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON-safe, with the fields' names as keys."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def guess(files: Sequence[SourceFile], caps: Caps = DEFAULT_CAPS) -> Guess:
    """The likeliest reading of the files. Raises UnreadableSamples when no file is of a known kind."""
    kinds = Counter(_extension(file) for file in files if _extension(file))
    if not kinds:
        names = ", ".join(file.name for file in files[:5])
        raise UnreadableSamples(
            "None of the files is of a known kind.", detail=names[:400], fix="Upload images, .npz, .npy, CSV, Parquet, JSONL or .txt."
        )
    images = sum(kinds[extension] for extension in IMAGE_EXTENSIONS)
    first = next(file for file in files if _extension(file) == kinds.most_common(1)[0][0])
    if images * 2 > len(files) or _extension(first) in IMAGE_EXTENSIONS:
        found = Guess("image", {}, (), 0.99, f"{images} of {len(files)} files are images.", (), (), _folders([file.name for file in files]))
    elif _extension(first) == ".zip":
        found = _zip(first)
    elif _extension(first) in (".npz", ".npy"):
        found = _arrays(first, caps)
    else:
        found = _sheets([file for file in files if _extension(file) in SHEET_EXTENSIONS], caps)
    return _checked(first, found)


def _extension(file: SourceFile) -> str:
    extension = posixpath.splitext(file.name.lower())[1]
    return extension if extension in (*IMAGE_EXTENSIONS, *SHEET_EXTENSIONS, ".zip", ".npz", ".npy") else ""


def _checked(file: SourceFile, found: Guess) -> Guess:
    """Halves the confidence when the file does not start as its name says."""
    magic = _MAGIC.get(_extension(file))
    file.stream.seek(0)
    if magic is None or file.stream.read(len(magic)) == magic:
        return found
    why = f"{found.why} But {file.name} does not begin as its name says."
    return Guess(
        found.modality,
        found.options,
        found.columns,
        found.confidence / 2,
        why,
        found.alternatives,
        found.label_candidates,
        found.folder_labels,
    )


def _folders(names: Sequence[str]) -> tuple[str, ...]:
    folders = sorted({posixpath.basename(posixpath.dirname(name)) for name in names} - {""})
    return tuple(folders[:1_000]) if len(folders) > 1 else ()


def _zip(file: SourceFile) -> Guess:
    file.stream.seek(0)
    try:
        names = [name for name in zipfile.ZipFile(file.stream).namelist() if not name.endswith("/")]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UnreadableSamples("The zip cannot be read.", detail=f"{file.name}: {error}", fix="Pack it again.") from error
    images = [name for name in names if name.lower().endswith(IMAGE_EXTENSIONS) and not name.startswith("__MACOSX/")]
    if not images:
        raise UnreadableSamples(
            "The zip holds no images.", detail=f"{file.name}: {', '.join(names[:5])}"[:400], fix="Upload other files unpacked."
        )
    return Guess("image", {}, (), 0.95, f"The zip holds {len(images)} images.", (), (), _folders(images))


def _arrays(file: SourceFile, caps: Caps) -> Guess:
    if file.name.lower().endswith(".npy"):
        headers = {"x": npy_header(file)}
    else:
        headers = npz_headers(file, caps)
    labels = tuple(name for name in headers if looks_like_label(name))
    if "jpeg" in headers and "offset" in headers:
        return Guess("image", {}, tuple(headers), 0.99, "It holds JPEG images and their offsets.", (), labels)
    key = next((name for name in ("x", "X") if name in headers), "") or max(headers, key=lambda name: headers[name].nbytes, default="")
    if not key:
        raise UnreadableSamples("The .npz holds no arrays.", detail=file.name, fix="Save it again with numpy.savez.")
    options: dict[str, Any] = {} if key in ("x", "X") else {"array": key}
    modality, confidence, why, others = _array_kind(headers[key], frozenset(headers))
    if modality == "series" and headers[key].shape and len(headers[key].shape) == 2:
        options["window"] = _DEFAULT_WINDOW
    sizes = " x ".join(f"{size:,}" for size in headers[key].shape) or "a single number"
    return Guess(modality, options, tuple(headers), confidence, f"Array {key}, {sizes}: {why}", others, labels)


def _array_kind(header: ArrayHeader, names: frozenset[str]) -> tuple[str, float, str, tuple[str, ...]]:
    shape = header.shape
    if len(shape) == 4:
        return "image", 0.95, "images with channels.", ()
    if len(shape) == 3 and names & _SERIES_HINTS:
        return "series", 0.98, f"with {', '.join(sorted(names & _SERIES_HINTS))} beside it.", ("image",)
    if len(shape) == 3 and header.dtype == "uint8":
        return "image", 0.9, "grey images.", ("series",)
    if len(shape) == 3 and shape[1] == shape[2] and shape[1] >= 8:
        return "image", 0.6, "square, so perhaps grey images.", ("series",)
    if len(shape) == 3:
        return "series", 0.9, "samples of steps and channels.", ("image",)
    if len(shape) == 2 and len(names) > 1:
        return "table", 0.7, "one row of numbers per sample.", ("series",)
    if len(shape) == 2:
        return "series", 0.5, "one recording of steps and channels, or one row per sample.", ("table",)
    raise UnreadableSamples(
        "The array has the wrong shape for samples.", detail=f"Found {shape}, expected 2 to 4 dimensions.", fix="Save samples first."
    )


def _sheets(files: Sequence[SourceFile], caps: Caps) -> Guess:
    log = ProblemLog(caps.problems)
    try:
        records = read_records(files[:1], ReadOptions(), caps, log, rows=_PEEKED_ROWS)
    except LimitExceeded as error:
        raise UnreadableSamples(error.title, detail=error.detail, fix=error.fix) from error
    if not records.origin:
        raise log.nothing_usable("Check the file, or choose its delimiter and encoding.")
    names = records.names
    labels = tuple(name for name in names if looks_like_label(name))
    attributes = attributes_of(names)
    if attributes:
        columns = [side + name for side in (LEFT, RIGHT) for name in attributes]
        why = f"Columns {LEFT}* and {RIGHT}* for {', '.join(attributes[:5])}."
        labels = tuple(name for name in labels if name not in columns)
        return Guess("pair", {"columns": columns}, names, 0.99, why, ("table",), labels)
    return _one_sided(records, labels)


def _one_sided(records: Records, labels: tuple[str, ...]) -> Guess:
    names = records.names
    inputs = [name for name in names if is_input(name)]
    numeric = [name for name in inputs if is_numeric(records.columns[name])]
    texts = [name for name in inputs if name not in numeric]
    times = [name for name in inputs if name.lower() in TIME_NAMES]
    longest = text_column(records, "") if texts else ""
    length = sum(len(str(cell)) for cell in records.columns.get(longest, [])) / max(len(records.origin), 1)
    wide = wide_columns(records.names, ReadOptions())
    if longest and (length >= _LONG_TEXT or len(inputs) == 1) and not len(numeric) > 2:
        few = tuple(name for name in names if name not in labels and name != longest and _few(records, name))
        return Guess(
            "text",
            {"columns": [longest]},
            names,
            0.9,
            f"Column {longest!r} holds text of {length:.0f} characters on average.",
            ("table",),
            labels + few,
        )
    if times and len(numeric) >= 1:
        options = {
            "layout": "long",
            "window": _DEFAULT_WINDOW,
            "time_column": times[0],
            "columns": [name for name in numeric if name not in times],
        }
        if options["columns"]:
            return Guess("series", options, names, 0.7, f"Column {times[0]!r} counts time beside columns of numbers.", ("table",), labels)
    if wide and not texts and len(next(iter(wide.values()))) >= 8:
        return Guess("series", {"layout": "wide"}, names, 0.7, "Columns are numbered steps.", ("table",), labels)
    if not inputs:
        raise UnreadableSamples(
            "No column can be an input.", detail=f"Columns: {', '.join(names[:20])}.", fix="Choose the columns by hand."
        )
    why = f"{len(numeric)} columns of numbers and {len(texts)} of text."
    return Guess("table", {"columns": inputs}, names, 0.8, why, ("series",) if numeric and not texts else ("text",), labels)


def _few(records: Records, name: str) -> bool:
    distinct = {str(cell) for cell in records.columns[name]}
    return name.lower() not in ("split", "fold") and 1 < len(distinct) <= min(_FEW_LABELS, len(records.origin) // 3)
