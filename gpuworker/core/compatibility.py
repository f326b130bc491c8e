"""Whether a sample set can be fed to a model, from facts alone. Torch-free, standard library only.

meta: the `meta` of a SampleBatch, as each module under `modalities/` documents it. The web process filters candidates
with this function; the encoders raise Incompatible with the same words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

RATE_TOLERANCE = 0.01


def compatible(batch_meta: Mapping[str, Any], spec_input: Mapping[str, Any], spec_modality: str | None = None) -> str | None:
    """None when the samples fit, else one sentence saying why not.

    spec_input: the parsed `input` of an input spec. spec_modality: that spec's modality, when the caller has it.
    """
    modality = batch_meta.get("modality")
    if spec_modality is not None and modality != spec_modality:
        return f"The model reads {spec_modality} samples, these are {modality}."
    if modality == "series":
        return _series(batch_meta, spec_input)
    if modality == "table":
        return _missing(
            [column["name"] for column in spec_input["columns"]], [column["name"] for column in batch_meta["columns"]], "columns"
        )
    if modality == "pair":
        return _missing(spec_input.get("attributes", ()), batch_meta["attributes"], "attributes")
    if modality in ("image", "text"):
        return None
    return f"Samples of kind {modality} are not known."


def channel_order(names: Sequence[str] | None, count: int, wanted: Sequence[str]) -> list[int] | str:
    """Indexes of the samples' channels in the model's order, or why there are none.

    By name (letter case aside) when the samples name their channels, else by position when the counts are equal.
    """
    if not names:
        return list(range(count)) if count == len(wanted) else f"The model needs {len(wanted)} channels, the samples have {count}."
    index = {name.casefold(): i for i, name in enumerate(names)}
    reason = _missing(wanted, names, "channels")
    return reason if reason else [index[name.casefold()] for name in wanted]


def resampled_length(window: int, rate_hz: float | None, wanted_hz: float | None) -> int:
    """Steps of a window after resampling to the model's rate; unchanged when a rate is unknown or they agree within 1 %."""
    if not rate_hz or not wanted_hz or abs(wanted_hz / rate_hz - 1) <= RATE_TOLERANCE:
        return window
    return math.floor(window * wanted_hz / rate_hz + 1e-6)


def _series(meta: Mapping[str, Any], spec: Mapping[str, Any]) -> str | None:
    order = channel_order(meta.get("channel_names"), int(meta["channels"]), spec["channels"])
    if isinstance(order, str):
        return order
    length = resampled_length(int(meta["window"]), meta.get("rate_hz"), spec.get("rate_hz"))
    if length < int(spec["window"]):
        rate = f" at {spec['rate_hz']:g} Hz" if length != meta["window"] else ""
        return f"The model needs windows of {spec['window']} steps, the samples have {length}{rate}."
    units, wanted = meta.get("units"), spec.get("units")
    if units and wanted:
        for place, unit in zip(order, wanted, strict=False):
            if place < len(units) and units[place].casefold() != unit.casefold():
                return f"The model reads channel {spec['channels'][order.index(place)]} in {unit}, the samples are in {units[place]}."
    return None


def _missing(wanted: Sequence[str], found: Sequence[str], what: str) -> str | None:
    have = {name.casefold() for name in found}
    absent = [name for name in wanted if name.casefold() not in have]
    if not absent:
        return None
    return f"The model needs the {what} {', '.join(absent[:10])}, which the samples lack; they have {', '.join(found[:20]) or 'none'}."
