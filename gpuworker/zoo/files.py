"""Samples as files that anybody could upload: arrays for images and series, tables for text and pairs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gpuworker.core.modalities import image, series
from gpuworker.core.modalities.batches import strings
from gpuworker.core.modalities.pair import LEFT, RIGHT
from gpuworker.core.protocols import SampleBatch

LABEL, TEXT = "label", "text"


def write_samples(stem: Path, batch: SampleBatch, labels: NDArray[np.int64] | None = None, names: tuple[str, ...] = ()) -> Path:
    """Write `stem` with the ending that fits and return it. labels: (N,) indexes into names, None for a file without labels."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    if batch.modality in ("image", "series"):
        path = stem.with_name(f"{stem.name}.npz")
        known = {} if labels is None else {"y": labels, "label_names": np.array(names)}
        np.savez_compressed(path, **_arrays(batch), **known)  # type: ignore[arg-type]
        return path
    path = stem.with_name(f"{stem.name}.parquet")
    columns = _columns(batch)
    if labels is not None:
        columns[LABEL] = [names[label] for label in labels]
    pq.write_table(pa.table(columns), path)
    return path


def reading_options(modality: str, *, labelled: bool) -> dict[str, Any]:
    """How such a file is to be read, as the API takes it."""
    columns = {"columns": [TEXT]} if modality == "text" else {}
    return columns | ({"label_column": LABEL} if labelled and modality in ("text", "pair") else {})


def _arrays(batch: SampleBatch) -> dict[str, NDArray[Any]]:
    if batch.modality == "image":
        return {"x": image.values(batch)}
    known: Mapping[str, Any] = batch.meta
    found: dict[str, NDArray[Any]] = {"x": series.values(batch)}
    if known.get("channel_names"):
        found["channel_names"] = np.array(known["channel_names"])
    if known.get("rate_hz"):
        found["rate_hz"] = np.array(known["rate_hz"], np.float64)
    return found


def _columns(batch: SampleBatch) -> dict[str, list[str]]:
    if batch.modality == "text":
        return {TEXT: strings(batch, "text")}
    found = {}
    for place, attribute in enumerate(batch.meta["attributes"]):
        found[LEFT + attribute] = strings(batch, f"left.{place}")
        found[RIGHT + attribute] = strings(batch, f"right.{place}")
    return found
