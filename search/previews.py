"""Small extracts of a sample set's samples, made when it is read, so that pages never open an upload."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from search.models import SampleSet


def _path(sample_set: SampleSet) -> Path:
    return sample_set.folder / "previews.jsonl"


def previews_write(sample_set: SampleSet, texts: bytes, offsets: list[int]) -> None:
    """texts: JSON texts one after the other; offsets: where each begins, and the end of the last."""
    lines = [texts[start:stop] for start, stop in zip(offsets[:-1], offsets[1:], strict=True)]
    index = [0]
    for line in lines:
        index.append(index[-1] + len(line) + 1)
    temporary = sample_set.folder / "previews.new"
    temporary.write_bytes(b"".join(line + b"\n" for line in lines))
    (sample_set.folder / "previews.index.json").write_text(json.dumps(index))
    temporary.replace(_path(sample_set))


def previews(sample_set: SampleSet, rows: list[int]) -> list[dict[str, Any] | None]:
    """The extracts of the given rows, None for a row that has none: beyond the first 2,000, or deleted."""
    try:
        index: list[int] = json.loads((sample_set.folder / "previews.index.json").read_text())
        with _path(sample_set).open("rb") as file:
            found: list[dict[str, Any] | None] = []
            for row in rows:
                if not 0 <= row < len(index) - 1:
                    found.append(None)
                    continue
                file.seek(index[row])
                found.append(json.loads(file.read(index[row + 1] - index[row])))
            return found
    except FileNotFoundError:
        return [None] * len(rows)
