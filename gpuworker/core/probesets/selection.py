"""Which rows make up a probe set: shared out over givers, sources and classes, every row once, with a digest of the choice.

Pure: slices in, positions out. The order in which slices are given does not matter.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 3_000  # rows of a probe set
MOST_OF_SOURCE = 1_000
MOST_OF_SLICE = 1_000
KIN = 0.1  # slices that share this part of the smaller one come from one source
HASH_BYTES = 16


@dataclass(frozen=True, slots=True)
class SliceRows:
    """A slice as the selection sees it, its rows in the order of `kept_rows`.

    key: its age, the oldest is smallest. origin: equal for slices of one model, or of one sample set. giver: the person who gave it.
    hashes: (n, 16) uint8. labels: (n,) indexes into the label space's canonical order.
    """

    key: int
    origin: str | int
    giver: int
    hashes: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Chosen:
    """rows: slice key -> positions in it, ascending; slices of which nothing is taken are absent.

    sources: slice key -> number of its source, from 0 by age. digest: 64 hex digits, equal for equal choices. duplicates: rows
    that an older slice holds too; conflicts: those of them that carry another label here.
    """

    rows: Mapping[int, NDArray[np.int64]]
    sources: Mapping[int, int]
    digest: str
    duplicates: int
    conflicts: int

    @property
    def n(self) -> int:
        return sum(len(rows) for rows in self.rows.values())

    @property
    def used_sources(self) -> int:
        return len({self.sources[key] for key in self.rows})

    def stop(self, key: int) -> int:
        """How many first rows of a slice have to be read to have those that are taken."""
        return int(self.rows[key][-1]) + 1 if key in self.rows else 0


def kept_rows(labels: NDArray[np.int64], hashes: NDArray[np.uint8], most: int = MOST_OF_SLICE) -> NDArray[np.int64]:
    """Positions of a reference sample that make its slice, in the slice's order: one of every class, then another of every class ...

    Within a class the order follows from the rows' hashes, so that a beginning of the slice is a fair draw. Equal rows count once.
    labels: (N,); hashes: (N, 16) uint8.
    """
    first = np.unique(_names(hashes), return_index=True)[1]  # in the order of the hashes
    turn = np.zeros(len(first), np.int64)
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels[first] == label)
        turn[of_class] = np.arange(len(of_class))
    return np.asarray(first[np.lexsort((labels[first], turn))][:most], np.int64)


def select(slices: Sequence[SliceRows], *, recipe: str = "") -> Chosen:
    """The rows of a probe set: at most MOST, shared out evenly over givers, then over each giver's sources, then slices.

    Within a slice its first rows are taken, which are even over the classes. Where somebody gave less than an even share, the
    others fill up. recipe: goes into the digest (encoder version, label space).
    """
    slices = sorted(slices, key=lambda item: item.key)
    if not slices:
        return Chosen({}, {}, _digest({}, recipe), 0, 0)
    owners, names, labels = _stacked(slices)
    first = _first_holders(names)
    fresh = first == np.arange(len(names))
    sources = _sources(slices, owners, first)
    free = [np.flatnonzero(fresh[owners == place]) for place in range(len(slices))]
    rows: dict[int, NDArray[np.int64]] = {}
    for place, count in enumerate(_quotas(slices, sources, [len(found) for found in free])):
        if count:
            rows[slices[place].key] = free[place][:count]
    by_key = {item.key: sources[place] for place, item in enumerate(slices)}
    parts: dict[int, list[bytes]] = {}
    for item in slices:
        for row in rows.get(item.key, ()):
            parts.setdefault(by_key[item.key], []).append(item.hashes[row].tobytes() + int(item.labels[row]).to_bytes(4, "little"))
    conflicts = int((labels != labels[first]).sum())
    return Chosen(rows, by_key, _digest(parts, recipe), int((~fresh).sum()), conflicts)


def feature_layout(meta: Mapping[str, Any]) -> str:
    """What must agree for two batches of one modality to have comparable probe features: "" where they always have.

    meta: of a sample batch. Tables: names and kinds of columns; series: the number of channels.
    """
    if meta.get("modality") == "table":
        return json.dumps(sorted((str(column["name"]).casefold(), column["kind"]) for column in meta["columns"]))
    return str(meta["channels"]) if meta.get("modality") == "series" else ""


def common_rows(hashes: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(n,) which rows of `hashes` (n, 16) are among `others` (m, 16)."""
    return np.isin(_names(hashes), _names(others))


def shares(total: int, sizes: Sequence[int]) -> list[int]:
    """An even division of `total` where nobody gets more than their size; what one cannot take goes to the rest."""
    given, left = [0] * len(sizes), total
    order = sorted(range(len(sizes)), key=lambda place: (sizes[place], place))
    for done, place in enumerate(order):
        given[place] = min(sizes[place], left // (len(order) - done))
        left -= given[place]
    return given


def _stacked(slices: Sequence[SliceRows]) -> tuple[NDArray[np.int64], NDArray[np.bytes_], NDArray[np.int64]]:
    owners = np.repeat(np.arange(len(slices)), [len(item.labels) for item in slices])
    names = np.concatenate([_names(item.hashes) for item in slices])
    return owners, names, np.concatenate([item.labels for item in slices])


def _names(hashes: NDArray[np.uint8]) -> NDArray[np.bytes_]:
    """(n, 16) uint8 -> (n,) comparable values. Fixed width: no two different hashes become equal."""
    return np.ascontiguousarray(hashes, np.uint8).reshape(-1, HASH_BYTES).view(f"S{HASH_BYTES}").ravel()


def _first_holders(names: NDArray[np.bytes_]) -> NDArray[np.int64]:
    """For every row the first row with its hash."""
    _, first, back = np.unique(names, return_index=True, return_inverse=True)
    return np.asarray(first[back], np.int64)


def _sources(slices: Sequence[SliceRows], owners: NDArray[np.int64], first: NDArray[np.int64]) -> list[int]:
    """Slices of one origin, and slices that hold the same rows, are one source."""
    root = list(range(len(slices)))

    def find(place: int) -> int:
        while root[place] != place:
            place = root[place]
        return place

    def join(a: int, b: int) -> None:
        low, high = sorted((find(a), find(b)))
        root[high] = low

    seen: dict[str | int, int] = {}
    for place, item in enumerate(slices):
        join(seen.setdefault(item.origin, place), place)
    pairs, counts = np.unique(owners[first] * len(slices) + owners, return_counts=True)
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        older, younger = divmod(pair, len(slices))
        if count >= KIN * min(len(slices[older].labels), len(slices[younger].labels)):
            join(older, younger)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(find(place), len(numbers)) for place in range(len(slices))]


def _quotas(slices: Sequence[SliceRows], sources: Sequence[int], free: Sequence[int]) -> list[int]:
    """Rows to take of each slice. A source counts for the person who gave its oldest slice."""
    members: dict[int, list[int]] = {}
    for place, source in enumerate(sources):
        members.setdefault(source, []).append(place)
    of_giver: dict[int, list[int]] = {}
    for source, places in members.items():
        of_giver.setdefault(slices[places[0]].giver, []).append(source)
    room = {source: min(MOST_OF_SOURCE, sum(free[place] for place in places)) for source, places in members.items()}
    quotas = [0] * len(slices)
    of_givers = shares(MOST, [sum(room[source] for source in owned) for owned in of_giver.values()])
    for owned, total in zip(of_giver.values(), of_givers, strict=True):
        for source, part in zip(owned, shares(total, [room[source] for source in owned]), strict=True):
            for place, count in zip(members[source], shares(part, [free[place] for place in members[source]]), strict=True):
                quotas[place] = count
    return quotas


def _digest(parts: Mapping[int, Sequence[bytes]], recipe: str) -> str:
    """Over the rows with their labels, grouped by source; neither slices nor the numbers of sources count."""
    groups = sorted(hashlib.sha256(b"".join(sorted(rows))).digest() for rows in parts.values())
    return hashlib.sha256(json.dumps(["probes/1", recipe]).encode() + b"".join(groups)).hexdigest()
